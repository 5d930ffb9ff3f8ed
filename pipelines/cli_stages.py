"""One command per stage kind, made from its record: flags from the config's fields, inputs by `--from name=path`.

A command writes the same node tree that a pipeline file is read into and takes the same way from there.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipelines import source
from pipelines.source import MAP, STR, ConfigError, Mistakes, did_you_mean, reason
from pipelines.stage import Stage, known_stages

if TYPE_CHECKING:
    from rich.console import Console

SEQ = "tag:yaml.org,2002:seq"


def console() -> Console:
    """Standard output, for as long as it is there; wide where it is no terminal, so that lines stay whole in a log."""
    from rich.console import Console

    from pipelines.events import Enduring

    file = typing.cast(typing.IO[str], Enduring(sys.stdout))
    made = Console(file=file, highlight=False)
    return made if made.is_terminal or "COLUMNS" in os.environ else Console(file=file, highlight=False, width=160)


def workdir_of(text: str) -> Path:
    """The value of `--workdir`. Empty is what an unset shell variable gives, and never the current folder."""
    if not str(text):
        raise ConfigError(["--workdir: is empty: name a folder, or leave it out for ./runs"])
    return Path(text)


Workdir = typing.Annotated[Path, typer.Option(parser=workdir_of, metavar="DIR", help="where runs and the store live")]


def add_commands(app: typer.Typer, words: Sequence[str]) -> None:
    """Add a command for every stage kind whose name is free (`r1 report` is about a run, not the stage).

    Only the kind that `words` call gets its flags and its whole help: of the others `r1 --help` shows a line, and a
    command of r1's own does without.
    """
    own = [made for made in app.registered_commands if made.name is None]  # of an earlier call, kinds have a name
    app.registered_commands[:] = own
    there = {made.callback.__name__ for made in own if made.callback}
    if words and words[0] in there:
        return  # `r1 plan` and the like need no command of another kind
    for stage in known_stages().values():
        if stage.name in there:
            continue
        if stage.name in words:
            app.command(stage.name, help=_help(stage))(command(stage))
        else:
            app.command(stage.name, help=_title(stage))(lambda: None)


def command(stage: Stage) -> Callable[..., None]:
    """The function behind `r1 <kind>`, with a parameter for each flag."""

    def body(**flags: Any) -> None:
        raise typer.Exit(_run(stage, flags))

    text = f"name of the stage: it enters the seed, so give the pipeline's to get its result [{stage.name}]"
    parameters = [_option("name", str, stage.name, "--name", text, "NAME")]
    parameters.append(_option("seed", str, "0", "--seed", "the pipeline's seed [0]", "N"))
    parameters.append(
        _option("workdir", Path, Path("runs"), "--workdir", "where runs and the store are [runs]", "DIR", workdir_of)
    )
    parameters.append(_option("out", Path | None, None, "--out", "copy the result to this new folder", "DIR"))
    if stage.inputs:
        text = "an input: a folder, such as a stage of a run; repeat for several"
        parameters.append(_option("from_", list[str] | None, None, "--from", text, "INPUT=FOLDER"))
    if stage.uses_rewards:
        text = "a file with rewards of your own; repeat for several"
        parameters.append(_option("plugin", list[str] | None, None, "--plugin", text, "FILE"))
    for name, field in stage.config.model_fields.items():
        parameters.append(_field_option(name, field))
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__annotations__ = {p.name: p.annotation for p in parameters}
    return body


def _option(
    name: str, kind: Any, default: Any, flag: str, text: str, metavar: str, parser: Callable[[str], Any] | None = None
) -> inspect.Parameter:
    option = typer.Option(default, flag, help=text, metavar=metavar, show_default=False, parser=parser)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def _field_option(name: str, field: FieldInfo) -> inspect.Parameter:
    default = PydanticUndefined if field.is_required() else field.get_default(call_default_factory=True)
    show = "required" if default is PydanticUndefined else _as_yaml(default)
    flag, text = f"--{name.replace('_', '-')}", f"{field.description} [{show}]"
    return _option(f"with_{name}", str | None, None, flag, text, _metavar(field.annotation))


def _as_yaml(default: Any) -> str:
    plain = yaml.safe_dump(_plain(default), default_flow_style=True, width=10_000)
    return plain.removesuffix("\n").removesuffix("\n...") or "''"


def _plain(default: Any) -> Any:
    if hasattr(default, "model_dump"):
        return default.model_dump(mode="json")
    return list(default) if isinstance(default, tuple | set | frozenset) else default


def _metavar(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return "|".join(dict.fromkeys(_metavar(part) for part in args if part is not type(None)))
    names = {int: "N", float: "X", bool: "true|false", str: "TEXT", list: "[...]", tuple: "[...]", dict: "{...}"}
    return names.get(origin or annotation, "YAML")


def _title(stage: Stage) -> str:
    return f"{stage.summary[0].upper()}{stage.summary[1:]}."


def _help(stage: Stage) -> str:
    lines = [_title(stage), "", "\b"]
    for slot in stage.inputs.values():
        many = "" if slot.shape == "one" else ", one or more"
        lines.append(f"  --from {slot.name}=FOLDER  a {slot.type.__name__}{many}{', optional' * slot.optional}")
    made = [f"{name} ({kind.__name__})" if name else kind.__name__ for name, kind in stage.outputs.items()]
    lines += [f"  makes {', '.join(made)}", "", "\b", f"  {_example(stage)}"]
    return "\n".join(lines)


def _example(stage: Stage) -> str:
    words = [f"r1 {stage.name}"]
    words += [f"--from {slot.name}=runs/demo/STAGE" for slot in stage.inputs.values() if not slot.optional]
    first = next(iter(stage.config.model_fields.items()), None)
    if first is not None and not first[1].is_required():
        words.append(f"--{first[0].replace('_', '-')} {_as_yaml(first[1].get_default(call_default_factory=True))}")
    return " ".join([*words, "--out result"])


def _run(stage: Stage, flags: Mapping[str, Any]) -> int:
    from pipelines import config, runner

    mistakes = Mistakes()
    name = str(flags["name"])
    given = {key.removeprefix("with_"): text for key, text in flags.items() if key.startswith("with_")}
    block = {key: _value(stage, key, text, mistakes) for key, text in given.items() if text is not None}
    inputs = _inputs(stage, flags.get("from_") or (), mistakes)
    entry: dict[str, Any] = {"use": stage.name, "with": _mapping(block, f"`r1 {stage.name}`")}
    if inputs.value:
        entry["from"] = inputs
    top: dict[str, Any] = {"name": f"cli-{name}", "seed": _scalar(str(flags["seed"]), "--seed", mistakes)}
    plugins = [_text(file, f"--plugin {file}") for file in flags.get("plugin") or ()]
    if plugins:
        top["rewards"] = SequenceNode(SEQ, plugins, plugins[0].start_mark, plugins[0].end_mark)
    top["stages"] = {name: entry}
    out: Path | None = flags["out"]
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError([f"--out {out}: exists already; name a new folder"])
    tree = source.tree(top, f"`r1 {stage.name}`")
    pipeline = config.build(tree, mistakes, file=Path(f"r1 {stage.name}"))
    code = runner.run(pipeline, flags["workdir"], console())
    if code == runner.DONE:
        _hand_over(flags["workdir"] / pipeline.name / name, out)
    return code


def _hand_over(made: Path, out: Path | None) -> None:
    if out is None:
        typer.echo(f"result: {made}")
        return
    temp = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temp, ignore_errors=True)
    try:
        shutil.copytree(made.resolve(), temp)
        temp.replace(out)
    except OSError as error:
        raise ConfigError([f"--out {out}: {reason(error)}; the result is in {made}"]) from None
    typer.echo(f"result: {out}")


def _value(stage: Stage, key: str, text: str, mistakes: Mistakes) -> Node:
    flag = f"--{key.replace('_', '-')}"
    wanted = stage.config.model_fields[key].annotation
    parts = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    plain = str in parts and not any(typing.get_origin(part) in (list, dict, tuple) for part in parts)
    if plain and (text not in ("null", "~") or type(None) not in parts):
        return _text(text, flag)
    return _scalar(text, flag, mistakes)


def _scalar(text: str, flag: str, mistakes: Mistakes) -> Node:
    """A flag's value as YAML."""
    try:
        node = source.compose(text, flag)
    except ConfigError as error:
        mistakes.add(_text(text, flag), "", error.lines[0].removeprefix(f"{flag}: "))
        node = None
    return node or _text(text, flag)


def _text(text: str, flag: str) -> ScalarNode:
    mark = yaml.Mark(flag, 0, 0, 0, None, 0)
    return ScalarNode(STR, text, mark, mark)


def _mapping(block: Mapping[str, Node], command: str) -> MappingNode:
    """A `with:` node whose keys and values are named after their flags."""
    pairs: list[tuple[Node, Node]] = [(_text(key, f"--{key.replace('_', '-')}"), node) for key, node in block.items()]
    return MappingNode(MAP, pairs, (head := _text("", command)).start_mark, head.end_mark)


def _inputs(stage: Stage, given: Sequence[str], mistakes: Mistakes) -> MappingNode:
    found: dict[str, list[ScalarNode]] = {}
    keys: dict[str, Node] = {}
    for text in given:
        flag = f"--from {text}"
        name, equals, path = text.partition("=")
        if not equals or not path:
            mistakes.add(_text(text, flag), "", "not of the form input=folder", did_you_mean(name, stage.inputs))
            continue
        if not path.startswith(("/", "./", "../", "~")):
            path = f"./{path}"
        found.setdefault(name, []).append(_text(path, flag))
        keys.setdefault(name, _text(name, flag))
    pairs: list[tuple[Node, Node]] = []
    for name, nodes in found.items():
        many = SequenceNode(SEQ, nodes, nodes[0].start_mark, nodes[0].end_mark)
        pairs.append((keys[name], nodes[0] if len(nodes) == 1 else many))
    return MappingNode(MAP, pairs, (head := _text("", "--from")).start_mark, head.end_mark)
