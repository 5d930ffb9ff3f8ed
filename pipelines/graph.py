"""The stages of one pipeline file and the typed edges between them, in an order in which they can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifacts import Artifact
from pipelines.stage import ONLY, Stage, StageConfig

if TYPE_CHECKING:
    from pipelines.gates import Gate


@dataclass(frozen=True, slots=True)
class Ref:
    """One end of an edge: an output of another stage, or a folder on disk (`path`), given in the pipeline file.

    label: the name it goes by in a `dict[str, X]` input.
    """

    label: str
    stage: str = ""
    output: str = ONLY
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"{self.stage}.{self.output}" if self.output else self.stage


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of the pipeline: which kind, with what config, from where."""

    name: str
    stage: Stage
    config: StageConfig
    inputs: Mapping[str, Sequence[Ref]]
    gate: Gate | None = None

    def after(self) -> list[str]:
        """Names of the stages that must be made before it: its parents, and the scores that its gate reads."""
        gates = [self.gate.scores] if self.gate is not None else []
        return list(dict.fromkeys([*self.parents(), *gates]))

    def parents(self) -> list[str]:
        """Names of the stages it takes something from, each once."""
        return list(dict.fromkeys(ref.stage for refs in self.inputs.values() for ref in refs if ref.path is None))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A checked pipeline: `nodes` come in an order in which each finds its inputs made.

    rewards: plugin files as written -> absolute path. base: the folder that relative paths start from. report_to: names
    of trackers that get the numbers of its stages.
    """

    name: str
    seed: int
    rewards: Mapping[str, Path]
    nodes: tuple[Node, ...]
    file: Path
    base: Path
    overrides: tuple[str, ...] = field(default=())
    report_to: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def until(self, last: str) -> Pipeline:
        """Only `last` and what it needs. KeyError when there is no such stage."""
        parents = {node.name: node.after() for node in self.nodes}
        wanted, queue = set[str](), [last]
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue += parents[name]
        return replace(self, nodes=tuple(node for node in self.nodes if node.name in wanted))


def ordered(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """Names in topological order; among the ready ones the earlier in the mapping goes first.

    Names on a cycle, or behind one, are left out: see `cycle`. Parents outside the mapping count as made.
    """
    waiting = {name: {p for p in above if p in parents} for name, above in parents.items()}
    done: list[str] = []
    while ready := next((name for name, above in waiting.items() if above <= set(done)), None):
        done.append(ready)
        del waiting[ready]
    return done


def cycle(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of one cycle in running order, the first one again at the end; empty when there is none."""
    stuck = [name for name in parents if name not in ordered(parents)]
    if not stuck:
        return []
    trail = [stuck[0]]
    while True:
        above = next(p for p in parents[trail[-1]] if p in stuck)
        if above in trail:
            return [above, *reversed(trail[trail.index(above) :])]
        trail.append(above)


def outputs_of(stages: Mapping[str, Stage]) -> dict[str, type[Artifact]]:
    """Everything an edge may name: `stage` for a single output, `stage.output` for each of several."""
    return {
        f"{name}.{output}" if output else name: kind
        for name, stage in stages.items()
        for output, kind in stage.outputs.items()
    }
