"""What a stage is: a function whose annotations declare its config, its typed inputs and its outputs.

    class ShortenConfig(StageConfig):
        max_chars: int = Field(400, description="drop completions longer than this", ge=1)

    @stage(version=1, summary="drop long samples")
    def shorten(ctx: Context, config: ShortenConfig, *, samples: Samples) -> Samples: ...

The pipeline file checks its edges against this record and the command line makes its flags from it. Torch and other
slow imports belong inside the body.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from pipelines.artifacts import KINDS, Artifact
from pipelines.context import Context

Shape = Literal["one", "list", "dict"]
NAME = re.compile(r"[a-z][a-z0-9_-]*")
ONLY = ""  # the output name of a stage with a single output
RESERVED = {"from", "out", "seed", "workdir", "name", "plugin", "help"}  # flags that every stage command has
Body = TypeVar("Body", bound=Callable[..., Any])


class StageError(Exception):
    """A failure that the user can fix. The runner shows its message alone, without a traceback."""


class StageConfig(BaseModel):
    """Base of every stage's `with:` block. Unknown keys are errors; `1e-5`, which YAML reads as text, is a number.

    added: settings that came later, whose default is what the stage did before them: at it they are no part of a
    result's identity, so that what was made before is still found.
    """

    # defer_build: a config's validator is made when it is first needed, not for each kind at each start.
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )
    added: ClassVar[tuple[str, ...]] = ()

    def deciding(self) -> dict[str, Any]:
        """The settings that decide a result, as JSON values."""
        fields = type(self).model_fields
        unmoved = {name for name in self.added if getattr(self, name) == fields[name].get_default()}
        return self.model_dump(mode="json", exclude=unmoved)


@dataclass(frozen=True, slots=True)
class Input:
    """One keyword-only parameter of a stage: `X`, `list[X]` or `dict[str, X]`; `| None = None` makes it optional."""

    name: str
    type: type[Artifact]
    shape: Shape = "one"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """The record behind one `use:` word. `outputs` maps name to type; a single output has the name ''."""

    name: str
    version: int
    summary: str
    config: type[StageConfig]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, type[Artifact]]
    result: type[Any]
    body: Callable[..., Any]
    files: Callable[[Any], Iterable[str]] | None = None
    check: Callable[[Any], Iterable[str]] | None = None
    peek: Callable[[Any, Path], str | None] | None = None

    @property
    def uses_rewards(self) -> bool:
        """Whether the config has a field `rewards`: then plugin files are part of the key and of `ctx.rewards`."""
        return "rewards" in self.config.model_fields


REGISTRY: dict[str, Stage] = {}


def stage(
    *,
    version: int,
    summary: str,
    files: Callable[[Any], Iterable[str]] | None = None,
    check: Callable[[Any], Iterable[str]] | None = None,
    peek: Callable[[Any, Path], str | None] | None = None,
) -> Callable[[Body], Body]:
    """Register the decorated function under its own name (`_` becomes `-`) and return it unchanged.

    version: an integer; raise it when the same config and inputs should give another result. Source is not hashed.
    files(config): paths on this machine that the config names, as written; their content becomes part of the key, and
        `ctx.resolve(path)` opens them (relative to the pipeline file). A path that does not exist is a config error.
    check(config): messages for what cannot work (a missing package, no such device). Called while the pipeline file is
        read, before anything runs, so it must take milliseconds; each message is one error, like a wrong type.
    peek(config, path): what is wrong with one of `files`, as its beginning shows, or None. Called with the full path
        when `check` is, so it must not read far.
    """

    def register(body: Body) -> Body:
        record = _describe(body, version, summary, files, check, peek)
        known = REGISTRY.get(record.name)
        same = known is None or known.body.__module__ == body.__module__
        assert same, f"two stages are named {record.name!r}: in {known and known.body.__module__} and {body.__module__}"
        REGISTRY[record.name] = record
        return body

    return register


def _describe(
    body: Callable[..., Any],
    version: int,
    summary: str,
    files: Callable[[Any], Iterable[str]] | None,
    check: Callable[[Any], Iterable[str]] | None,
    peek: Callable[[Any, Path], str | None] | None,
) -> Stage:
    name = body.__name__.replace("_", "-")
    where = f"stage {name!r} in {body.__module__}"
    assert NAME.fullmatch(name), f"{where}: the name must be lower case letters, digits, '-' and '_'"
    assert isinstance(version, int) and version >= 1, f"{where}: version must be an integer from 1, not {version!r}"
    assert summary.strip(), f"{where}: summary is empty; it is the line that `r1 --help` shows"
    try:
        hints = typing.get_type_hints(body)
    except NameError as error:
        raise AssertionError(f"{where}: {error}; annotations must be names at the top of the module") from error
    parameters = list(inspect.signature(body).parameters.values())
    head = [p.name for p in parameters[:2]]
    assert head == ["ctx", "config"] and hints.get("ctx") is Context, (
        f"{where}: it must start with (ctx: Context, config: ...), not {head}"
    )
    config = hints.get("config")
    assert isinstance(config, type) and issubclass(config, StageConfig), f"{where}: config must be a StageConfig"
    for key, field in config.model_fields.items():
        assert field.description, f"{where}: config field {key!r} needs Field(description=...); it is the flag's help"
        assert key not in RESERVED, f"{where}: config field {key!r} is the name of a flag that every stage has"
    unknown = set(config.added) - set(config.model_fields)
    assert not unknown, f"{where}: {', '.join(sorted(unknown))} in `added` is no config field"
    inputs = {p.name: _input(p, hints.get(p.name), where) for p in parameters[2:]}
    result = hints.get("return")
    outputs = _outputs(result, where)
    assert isinstance(result, type)
    return Stage(name, version, summary.strip(), config, inputs, outputs, result, body, files, check, peek)


def _input(parameter: inspect.Parameter, hint: Any, where: str) -> Input:
    where = f"{where}: input {parameter.name!r}"
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{where} must be keyword-only: put it after `*`"
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        assert len(rest) == 1 and len(typing.get_args(hint)) == 2, f"{where}: only `X | None` unions are known"
        assert parameter.default is None, f"{where}: an optional input needs the default None"
        hint, optional = rest[0], True
    else:
        assert parameter.default is inspect.Parameter.empty, f"{where}: write `X | None = None` for an optional input"
    shape: Shape = "one"
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        hint, shape = args[0], "list"
    elif origin is dict:
        assert args[0] is str, f"{where}: only dict[str, X] is known"
        hint, shape = args[1], "dict"
    assert hint in KINDS.values(), f"{where}: {hint!r} is no artifact type; choose from {', '.join(KINDS)}"
    return Input(parameter.name, hint, shape, optional)


def _outputs(result: Any, where: str) -> dict[str, type[Artifact]]:
    if result in KINDS.values():
        return {ONLY: result}
    assert isinstance(result, type) and issubclass(result, tuple) and hasattr(result, "_fields"), (
        f"{where}: it must return one of {', '.join(KINDS)} or a NamedTuple of them, not {result!r}"
    )
    named = typing.get_type_hints(result)
    for key, kind in named.items():
        assert kind in KINDS.values(), f"{where}: output {key!r} is {kind!r}; choose from {', '.join(KINDS)}"
    return dict(named)


def known_stages() -> Mapping[str, Stage]:
    """All registered stages by name, those of `pipelines/stages/` included."""
    from pipelines.stages import discover

    discover()
    return REGISTRY


def find_stage(name: str) -> Stage | None:
    """The stage kind of this name. Imports one file where it is called like the kind: `r1 plan` answers at once."""
    from pipelines.stages import discover

    if name not in REGISTRY:
        discover(name.replace("-", "_"))
    return REGISTRY.get(name) or known_stages().get(name)
