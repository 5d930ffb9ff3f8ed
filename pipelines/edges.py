"""Checks of what a pipeline file names: the `from:` edges of each stage and the rewards of its config."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipelines import source
from pipelines.artifacts import MARKS, Artifact
from pipelines.graph import Ref, outputs_of
from pipelines.source import Mistakes, did_you_mean
from pipelines.stage import Input, Stage
from pipelines.store import read_made

PATH_STARTS = ("./", "../", "/", "~")
LABEL = re.compile(r"\w[^/\\\x00-\x1f]{0,79}")  # a model's name in an evaluation: tables have it, and files
Named = Mapping[str, tuple[Node, Node]]
Kinds = Mapping[str, Stage | None]  # None: the stage exists, its `use:` is wrong


def connect(named: Named, kinds: Kinds, base: Path, mistakes: Mistakes) -> dict[str, dict[str, list[Ref]]]:
    """The checked edges of every stage: {stage: {input: refs}}."""
    found: dict[str, dict[str, list[Ref]]] = {}
    for name, (key, node) in named.items():
        found[name] = {}
        stage = kinds[name]
        if stage is None:
            continue
        path = f"stages.{name}.from"
        block_key, block = source.entries(node).get("from", (key, None))
        if block is not None and not source.is_null(block) and not isinstance(block, MappingNode):
            mistakes.add(block, path, f"must be a mapping, not {source.describe(block)}", _example(stage))
            continue
        given = source.entries(block)
        meant = set()
        for word, (word_node, _) in given.items():
            if word not in stage.inputs:
                hint = did_you_mean(word, stage.inputs) or f"`use: {stage.name}` takes no inputs"
                meant |= {slot for slot in stage.inputs if hint == f"did you mean {slot}?"}
                mistakes.add(word_node, f"{path}.{word}", "unknown input", hint)
        for slot in stage.inputs.values():
            if slot.name in given:
                found[name][slot.name] = _refs(slot, given[slot.name][1], f"{path}.{slot.name}", kinds, base, mistakes)
            elif not slot.optional and slot.name not in meant:
                typed = source.typed(block_key)
                hint = f"--from {slot.name}=FOLDER" if typed else _candidates(slot.type, kinds, name) or _example(stage)
                mistakes.add(block_key, "" if typed else path, f"missing input `{slot.name}` ({_wanted(slot)})", hint)
    return found


def _refs(slot: Input, node: Node, path: str, kinds: Kinds, base: Path, mistakes: Mistakes) -> list[Ref]:
    if isinstance(node, ScalarNode) and not source.is_null(node):
        pairs: list[tuple[str | None, Node]] = [(None, node)]
    elif isinstance(node, SequenceNode) and slot.shape != "one":
        pairs = [(None, item) for item in node.value]
    elif isinstance(node, MappingNode) and slot.shape == "dict":
        pairs = [(label, item) for label, (_, item) in source.entries(node).items()]
    else:
        mistakes.add(node, path, f"takes {_wanted(slot)}, not {source.describe(node)}", "name a stage")
        return []
    if not pairs:
        mistakes.add(node, path, f"is empty; it takes {_wanted(slot)}")
    refs = [_ref(slot, label, item, path, kinds, base, mistakes) for label, item in pairs]
    good = [ref for ref in refs if ref is not None]
    labels = [None if ref is None else ref.label for ref in refs]
    for i, (ref, (_, item)) in enumerate(zip(refs, pairs, strict=True)):
        if slot.shape == "dict" and ref is not None and ref.label in labels[:i]:
            mistakes.add(item, path, f"two inputs are called {ref.label}", "give names: {first: ..., second: ...}")
        if slot.shape == "dict" and ref is not None and not LABEL.fullmatch(ref.label):
            hint = "begin with a letter or digit and leave out slashes, as in {mine: ...}"
            mistakes.add(item, path, f"{ref.label!r} is not usable as a name in tables and files", hint)
    return good


def _ref(
    slot: Input, label: str | None, node: Node, path: str, kinds: Kinds, base: Path, mistakes: Mistakes
) -> Ref | None:
    if not isinstance(node, ScalarNode):
        mistakes.add(node, path, f"must name a stage, not {source.describe(node)}")
        return None
    text = str(node.value)
    if text.startswith(PATH_STARTS):
        start = Path.cwd() if source.typed(node) else base
        folder = (start / source.expanded(text)).resolve()
        found = locate(folder, slot.type)
        if found is None:
            what = "no such folder" if not folder.is_dir() else f"is no {slot.type.__name__}"
            given = text.rstrip("/")
            inside = sorted(f"{given}/{part.parent.name}" for part in folder.glob(f"*/{MARKS[slot.type]}"))
            hint = did_you_mean(f"{given}/train", inside) if inside else f"needs a folder with {MARKS[slot.type]}"
            mistakes.add(node, path, f"{text}: {what}", hint)
            return None
        return Ref(label or Path(text).name, path=found)
    name, _, output = text.partition(".")
    others = {n: s for n, s in kinds.items() if s is not None}
    if name not in kinds:
        fitting = [t for t, kind in outputs_of(others).items() if kind is slot.type]
        mistakes.add(node, path, f"unknown stage `{text}`", did_you_mean(text, fitting or outputs_of(others)))
        return None
    stage = kinds[name]
    if stage is None:  # its own mistake is reported already
        return None
    outputs = outputs_of({name: stage})
    if text not in outputs:
        what = f"`{name}` has several outputs" if text == name else f"`{name}` has no output `{output}`"
        mistakes.add(node, path, what, did_you_mean(text, outputs))
        return None
    if outputs[text] is not slot.type:
        what = f"takes {_wanted(slot)}, but `{text}` is a {outputs[text].__name__}"
        mistakes.add(node, path, what, _candidates(slot.type, kinds, ""))
        return None
    return Ref(label or text, stage=name, output=output)


def locate(folder: Path, kind: type[Artifact]) -> Path | None:
    """The folder of an artifact of this type: itself, or the only output of this type that a stage left in it."""
    for root in (folder, folder.parent):
        made = read_made(root)
        outputs = made.manifest["outputs"].values() if made else ()
        fitting = [(root / o["path"]).resolve() for o in outputs if o["type"] == kind.__name__]
        if made and root == folder:
            return fitting[0] if len(fitting) == 1 else None
        if made and any((root / o["path"]).resolve() == folder for o in outputs):
            return folder if folder in fitting else None
    return folder if (folder / MARKS[kind]).is_file() else None


def _wanted(slot: Input) -> str:
    name = slot.type.__name__
    return {"one": f"one {name}", "list": f"one or more {name}", "dict": f"one or more {name}"}[slot.shape]


def _candidates(kind: type[Artifact], kinds: Kinds, skip: str) -> str:
    others = {n: s for n, s in kinds.items() if s is not None and n != skip}
    fitting = [text for text, made in outputs_of(others).items() if made is kind]
    return f"in this file: {', '.join(fitting)}" if fitting else ""


def _example(stage: Stage) -> str:
    inner = ", ".join(f"{slot.name}: ..." for slot in stage.inputs.values())
    return f"for example from: {{{inner}}}" if inner else f"`use: {stage.name}` takes no inputs"


def load_rewards(plugins: Mapping[str, Path], nodes: Sequence[Node], mistakes: Mistakes) -> bool:
    """Import the plugin files, `nodes` being where each is named. False, and mistakes, when one does not load."""
    if not plugins:
        return True
    from rewards.registry import RewardError, load_plugins

    before = len(mistakes)
    for i, (node, path) in enumerate(zip(nodes, plugins.values(), strict=True)):
        try:
            load_plugins([path])
        except RewardError as error:
            mistakes.add(node, f"rewards.{i}", str(error).replace("\n", " "))
    return len(mistakes) == before


def check_rewards(path: str, block: Node | None, mistakes: Mistakes) -> None:
    """Check the rewards and settings under `rewards:`, `watch:` and `report:` against built-in ones and plugins."""
    nodes = {key: source.entries(block).get(key, (None, None))[1] for key in ("rewards", "watch", "report")}
    rewards = nodes["rewards"]
    if isinstance(rewards, MappingNode) and not rewards.value:
        mistakes.add(rewards, f"{path}.rewards", "no rewards are given", "for example {math: 1.0, format: 0.1}")
    settled = source.entries(rewards)
    for key, node in nodes.items():
        if node is not None:
            _check_rewards(f"{path}.{key}", node, mistakes, settled if key == "report" else ())


def _check_rewards(path: str, node: Node, mistakes: Mistakes, settled: Collection[str] = ()) -> None:
    """`settled`: rewards that have their settings elsewhere, so that a bare name is enough."""
    from rewards.registry import BUILT_IN, NEEDS_SETTINGS, RewardError, parse_weights

    for name, (key, item) in source.entries(node).items():
        settings = source.value(item, f"{path}.{name}", mistakes)
        bare = isinstance(settings, int | float) and not isinstance(settings, bool) and abs(settings) < float("inf")
        if bare and name in BUILT_IN and name not in NEEDS_SETTINGS:
            continue  # nothing to check that would be worth importing a grader for
        try:
            parse_weights({name: settings})
        except RewardError as error:
            mistakes.add(key, f"{path}.{name}", str(error))
    for i, item in enumerate(source.items(node)):
        if isinstance(item, ScalarNode) and item.value not in settled:
            try:
                parse_weights({item.value: 1.0})
            except RewardError as error:
                mistakes.add(item, f"{path}.{i}", str(error))


def check_reward_models(
    path: str,
    stage: Stage,
    rewards: Collection[str],
    refs: Mapping[str, Sequence[Ref]],
    node: Node,
    mistakes: Mistakes,
) -> None:
    """The reward `preference` and the inputs that give it a model come together or not at all."""
    from pipelines.grading import preference_faults

    for fault in preference_faults(rewards, [name for name in refs if refs[name]], stage.inputs):
        mistakes.add(node, path, fault)


def check_win(path: str, config: Any, refs: Mapping[str, Sequence[Ref]], node: Node, mistakes: Mistakes) -> None:
    """The model to beat is one of those that are evaluated."""
    win = getattr(config, "win", None)
    labels = [ref.label for ref in refs.get("models", ())]
    if win is not None and labels and win.against not in labels:
        mistakes.add(node, path, f"no model is named {win.against!r}", did_you_mean(win.against, labels))
