"""From a pipeline file to a checked `Pipeline`: strict, and all mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipelines import edges, gates, source
from pipelines.fields import explain
from pipelines.graph import Node as StageNode
from pipelines.graph import Pipeline, cycle, ordered
from pipelines.source import Mistakes, did_you_mean
from pipelines.stage import Stage, StageConfig, find_stage, known_stages
from pipelines.trackers import FOLDER as TRACKED
from pipelines.trackers import TRACKERS, missing

TOP = ("name", "seed", "rewards", "report_to", "stages")
PER_STAGE = ("use", "from", "with", "needs")
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
TAKEN = ("store", TRACKED)  # folders beside the runs


def load(path: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read and check a pipeline file with its `--set` overrides. Creates nothing.

    Raises:
        ConfigError: one line `file:line: path: what (hint)` for each mistake.
    """
    root = source.read(path)
    mistakes = Mistakes()
    source.lint(root, "", mistakes)
    for text in overrides:
        source.override(root, text, mistakes)
    return build(root, mistakes, file=path, overrides=tuple(overrides))


def build(root: Node, mistakes: Mistakes, *, file: Path, overrides: tuple[str, ...] = ()) -> Pipeline:
    """Check a node tree. The pipeline file and the single-stage commands both end here."""
    base = file.resolve().parent
    top = source.entries(root)
    for key, (key_node, _) in top.items():
        if key not in TOP:
            mistakes.add(key_node, key, "unknown key", did_you_mean(key, TOP))
    name = _name(top.get("name"), file, mistakes)
    seed = _seed(top.get("seed"), mistakes)
    rewards = _plugins(top.get("rewards"), base, mistakes)
    report_to = _trackers(top.get("report_to"), mistakes)
    nodes = _stages(root, top.get("stages"), base, rewards, mistakes)
    mistakes.stop()
    return Pipeline(name, seed, rewards, nodes, file, base, overrides, report_to)


def _name(entry: tuple[Node, Node] | None, file: Path, mistakes: Mistakes) -> str:
    if entry is None:
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", file.stem).strip("-.") or "pipeline"
        return f"{stem}-run" if stem in TAKEN else stem
    node = entry[1]
    if not isinstance(node, ScalarNode) or not FOLDER.fullmatch(node.value) or node.value in TAKEN:
        hint = "letters, digits, '.', '_' and '-': it names the run's folder, for example r1-tiny"
        if isinstance(node, ScalarNode) and node.value in TAKEN:
            hint = "a folder of that name is beside the runs: choose another one"
        mistakes.add(node, "name", f"not usable as a name: {source.describe(node)}", hint)
        return "invalid"
    return str(node.value)


def _seed(entry: tuple[Node, Node] | None, mistakes: Mistakes) -> int:
    found = 0 if entry is None else source.value(entry[1], "seed", mistakes)
    if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
        return found
    assert entry is not None
    mistakes.add(entry[1], "seed", f"must be an integer from 0, not {source.describe(entry[1])}", "for example 0")
    return 0


def _plugins(entry: tuple[Node, Node] | None, base: Path, mistakes: Mistakes) -> dict[str, Path]:
    """Reward plugin files, relative to the pipeline file (from a flag: to the current folder)."""
    found: dict[str, Path] = {}
    if entry is None or source.is_null(entry[1]):
        return found
    if not isinstance(entry[1], SequenceNode):
        mistakes.add(entry[1], "rewards", "must be a list of Python files", "for example [./my_rewards.py]")
    for i, node in enumerate(source.items(entry[1])):
        path = f"rewards.{i}"
        if not isinstance(node, ScalarNode) or not node.value:
            mistakes.add(node, path, f"must be a Python file, not {source.describe(node)}", "such as ./my_rewards.py")
            continue
        start = Path.cwd() if source.typed(node) else base
        file = (start / source.expanded(node.value)).resolve()
        if node.value in found:
            mistakes.add(node, path, f"{node.value} is listed twice", "name it once")
            continue
        if file.is_file():
            found[node.value] = file
            continue
        near = sorted(p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else []
        hint = did_you_mean(file.name, near) or f"looked in {file.parent}: put it there or correct the path"
        mistakes.add(node, path, f"no such plugin file: {node.value}", hint)
    return found


def _trackers(entry: tuple[Node, Node] | None, mistakes: Mistakes) -> tuple[str, ...]:
    """Names of trackers, each known and installed."""
    if entry is None or source.is_null(entry[1]):
        return ()
    nodes = source.items(entry[1]) if isinstance(entry[1], SequenceNode) else [entry[1]]
    names = []
    for i, node in enumerate(nodes):
        name = node.value if isinstance(node, ScalarNode) else ""
        if name not in TRACKERS:
            what, hint = f"no such tracker: {source.describe(node)}", did_you_mean(str(name), TRACKERS)
            mistakes.add(node, f"report_to.{i}", what, hint)
        elif fault := missing(name):
            mistakes.add(node, f"report_to.{i}", fault)
        names.append(str(name))
    return tuple(dict.fromkeys(names))


def _stages(
    root: Node, entry: tuple[Node, Node] | None, base: Path, rewards: Mapping[str, Path], mistakes: Mistakes
) -> tuple[StageNode, ...]:
    if entry is not None and not isinstance(entry[1], MappingNode) and not source.is_null(entry[1]):
        what = f"must be a mapping from names to stages, not {source.describe(entry[1])}"
        mistakes.add(entry[1], "stages", what, "for example {base: {use: model}}")
        return ()
    if entry is None or not isinstance(entry[1], MappingNode) or not entry[1].value:
        mistakes.add(entry[1] if entry else root, "stages", "no stages", "for example {base: {use: model}}")
        return ()
    named = source.entries(entry[1])
    kinds: dict[str, Stage | None] = {}
    configs: dict[str, StageConfig | None] = {}
    listed = source.items(source.entries(root)["rewards"][1]) if "rewards" in source.entries(root) else []
    # With a plugin missing, "unknown reward" would only repeat that mistake.
    plugins_ok = len(rewards) == len(listed) and edges.load_rewards(rewards, listed, mistakes)
    for name, (key, node) in named.items():
        if not STAGE_NAME.fullmatch(name):
            mistakes.add(
                key, f"stages.{name}", "not usable as a stage name", "letters, digits, '_' and '-', a letter first"
            )
        kinds[name] = _kind(name, key, node, mistakes)
    for name, (key, node) in named.items():
        stage = kinds[name]
        block = source.entries(node).get("with", (key, None))[1]
        configs[name] = None if stage is None else _config(name, stage, key, block, base, mistakes)
        if plugins_ok and stage is not None and stage.uses_rewards:
            edges.check_rewards(f"stages.{name}.with", block, mistakes)
    inputs = edges.connect(named, kinds, base, mistakes)
    for name, stage in kinds.items():
        if stage is not None and stage.uses_rewards and configs[name] is not None:
            rewarded = [*getattr(configs[name], "rewards", ()), *getattr(configs[name], "report", ())]
            edges.check_reward_models(f"stages.{name}", stage, rewarded, inputs[name], named[name][0], mistakes)
            edges.check_win(f"stages.{name}.with.win", configs[name], inputs[name], named[name][0], mistakes)
    needs = gates.connect(named, kinds, inputs, mistakes)
    parents = {
        name: [ref.stage for refs in inputs[name].values() for ref in refs if ref.path is None]
        + ([needs[name].scores] if name in needs else [])
        for name in named
    }
    _no_cycle(named, parents, mistakes)
    if len(mistakes):
        return ()
    made: list[StageNode] = []
    for name in ordered(parents):
        stage, config = kinds[name], configs[name]
        assert stage is not None and config is not None
        made.append(StageNode(name, stage, config, inputs[name], needs.get(name)))
    return tuple(made)


def _kind(name: str, key: Node, node: Node, mistakes: Mistakes) -> Stage | None:
    """The stage record that `use:` names; reports unknown keys of the stage on the way."""
    path = f"stages.{name}"
    if not isinstance(node, MappingNode):
        mistakes.add(node, path, f"must be a mapping, not {source.describe(node)}", "for example {use: model}")
        return None
    block = source.entries(node)
    for word, (word_node, _) in block.items():
        if word not in PER_STAGE:
            mistakes.add(word_node, f"{path}.{word}", "unknown key", did_you_mean(word, PER_STAGE))
    if "use" not in block:
        mistakes.add(key, path, "`use` is missing", f"known: {', '.join(known_stages())}")
        return None
    use = block["use"][1]
    word = str(use.value) if isinstance(use, ScalarNode) else ""
    found = find_stage(word)
    if found is None:
        hint = did_you_mean(word, known_stages())
        mistakes.add(use, f"{path}.use", f"unknown stage kind {source.describe(use)}", hint)
    return found


def _config(
    name: str, stage: Stage, key: Node, block: Node | None, base: Path, mistakes: Mistakes
) -> StageConfig | None:
    path = f"stages.{name}.with"
    content: Any = {}
    if block is not None and not source.is_null(block):
        if not isinstance(block, MappingNode):
            mistakes.add(block, path, f"must be a mapping, not {source.describe(block)}")
            return None
        before = len(mistakes)
        content = source.value(block, path, mistakes)
        if len(mistakes) > before:
            return None
    try:
        config = stage.config.model_validate(content)
    except ValidationError as error:
        explain(error, stage.config, block, key, path, mistakes)
        return None
    for message in stage.check(config) if stage.check else ():
        told = source.entries(block).get(message.partition(" ")[0].rstrip(":")) if block is not None else None
        mistakes.add(told[1] if told else block or key, path, message)  # where the value stands, if the file has it
    for file in stage.files(config) if stage.files else ():
        named = next((node for _, node in source.entries(block or key).values() if node.value == file), block or key)
        if not (base / source.expanded(file)).exists():
            mistakes.add(named, path, f"no such file: {file}", f"looked in {base}: put it there or correct the path")
        elif stage.peek and (fault := stage.peek(config, base / source.expanded(file))):
            mistakes.add(named, path, fault)
    return config


def _no_cycle(named: Mapping[str, tuple[Node, Node]], parents: Mapping[str, Sequence[str]], mistakes: Mistakes) -> None:
    found = cycle(parents)
    if found:
        trail = " -> ".join(found)
        mistakes.add(named[found[0]][0], f"stages.{found[0]}", f"goes in a circle: {trail}", "cut one of these edges")
