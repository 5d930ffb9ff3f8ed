"""What past runs in the store say about the time of a stage: seconds per unit of work, start-up apart."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from pipelines.context import METRICS
from pipelines.graph import Node
from pipelines.report_data import read_rows
from pipelines.shapes import Shape, UnknownShape, read_shape
from pipelines.store import Made, Store
from pipelines.work import DRAWN, Work, grpo_work

RUNS = 5  # newest runs of the nearest amount of work that are asked
TAIL = 4  # later steps are taken to last as long as the last quarter of the measured ones


@dataclass(frozen=True, slots=True)
class Measured:
    """A prediction: seconds, and how many past runs it rests on."""

    seconds: float
    runs: int


class History:
    """The manifests of a store, by kind of stage, newest first."""

    def __init__(self, store: Store) -> None:
        self._by_kind: dict[str, list[Made]] = defaultdict(list)
        self._models: dict[str, int | None] = {}
        for made in sorted(store.all(), key=lambda made: -float(made.manifest.get("finished", 0))):
            self._by_kind[str(made.manifest.get("kind"))].append(made)
            for name, entry in made.manifest["outputs"].items():
                if entry["type"] == "Model":
                    self._models[str(entry["digest"])] = _parameters(made, name)

    def predict(self, node: Node, work: Work | None, model: Shape | None) -> Measured | None:
        """Seconds that a stage will take. Runs of the same stage name count first, else those of its kind.

        Only runs on models of the same size and on the device of the newest of them are asked, and of these the ones
        nearest in the amount of work: a shorter training leaves another model, which writes otherwise. The answer is
        the median of what each of them says. None where there is no such run.
        """
        size = model.parameters if model is not None else None
        known = [made for made in self._by_kind[node.stage.name] if size is None or self._size(made) == size]
        known = [made for made in known if made.manifest.get("stage") == node.name] or known
        known = [made for made in known if made.manifest.get("device") == known[0].manifest.get("device")]
        if not known:
            return None
        steps = [_distance(made, node, work) for made in known]
        near = [made for made, far in zip(known, steps, strict=True) if far <= min(steps) + 0.1][:RUNS]
        return Measured(median(predict(made, node, work) for made in near), len(near))

    def newest(self, node: Node) -> Mapping[str, Any] | None:
        """The manifest of the newest run of a stage of this kind and name, else of this kind."""
        known = self._by_kind[node.stage.name]
        made = next((made for made in known if made.manifest.get("stage") == node.name), next(iter(known), None))
        return made.manifest if made is not None else None

    def _size(self, made: Made) -> int | None:
        """Parameters of the model that a stage trained or drew from."""
        digests = [str(made.manifest["outputs"][name]["digest"]) for name in _models(made)]
        digests += [str(d) for slot in ("model", "models") for _, d in made.manifest["inputs"].get(slot, ())]
        return next((self._models[digest] for digest in digests if digest in self._models), None)


def _models(made: Made) -> list[str]:
    return [name for name, entry in made.manifest["outputs"].items() if entry["type"] == "Model"]


def _parameters(made: Made, output: str) -> int | None:
    try:
        return read_shape(made.output(output).path).parameters
    except UnknownShape:
        return None


def _distance(made: Made, node: Node, work: Work | None) -> float:
    """How far a run's work was from `work`: the logarithm of their ratio; 0 where neither can be told."""
    before = past_work(made.manifest, node) if work is not None else None
    if work is None or before is None:
        return 0.0
    return abs(math.log(max(work.sequences, 1) / max(before.sequences, 1)))


def predict(made: Made, node: Node, work: Work | None) -> float:
    """Seconds that a finished stage leads one to expect of `work` of the same kind."""
    wall = float(made.manifest["wall_s"])
    before = past_work(made.manifest, node) if work is not None else None
    if work is None or before is None or before.sequences == 0:
        return wall
    if work.kind == "rl":
        return _predict_rl(made, wall, before, work)
    ratio = work.sequences / before.sequences
    paces = [pace for pace in made.manifest.get("paces", ()) if pace["rest"]]
    if not paces:
        return wall * ratio if work.kind == "draw" else _unpaced(made.manifest, wall, ratio)
    units = [(pace, pace["rest_s"] / pace["rest"]) for pace in paces]
    starts: list[float] = [max(0.0, pace["first_s"] - pace["first"] * each) for pace, each in units]
    moving: float = sum((pace["first"] + pace["rest"]) * each for pace, each in units)
    other = max(0.0, wall - sum(starts) - moving)
    if work.kind == "draw":  # the rest of the time is grading; the first engine starts with its imports
        later = starts[1:] or starts
        return starts[0] + (work.models - 1) * sum(later) / len(later) + (moving + other) * ratio
    return sum(starts) + other + moving * ratio


def _unpaced(manifest: Mapping[str, Any], wall: float, ratio: float) -> float:
    """A run of one advance: what came before training stays, the rest grows."""
    seconds = min(wall, float(manifest["metrics"].get("seconds", wall)))
    return wall - seconds + seconds * ratio


def _predict_rl(made: Made, wall: float, before: Work, work: Work) -> float:
    """Each step as long as it was; steps beyond those measured as long as the last quarter of them."""
    steps = [float(row["seconds/step"]) for row in read_rows(made.folder / METRICS) if "seconds/step" in row]
    if not steps:
        return wall * work.sequences / before.sequences
    size = (work.sequences / work.steps) / (before.sequences / before.steps)
    last = steps[-max(1, len(steps) // TAIL) :]
    spent = sum(steps[: work.steps]) + max(0, work.steps - len(steps)) * sum(last) / len(last)
    return max(0.0, wall - sum(steps)) + spent * size


def past_work(manifest: Mapping[str, Any], node: Node) -> Work | None:
    """The work that a manifest's stage did; None where its config is of another version."""
    try:
        config: Any = node.stage.config.model_validate(manifest["config"])
    except ValueError:
        return None
    metrics, kind = manifest["metrics"], node.stage.name
    if kind == "grpo":
        return grpo_work(config)
    if kind == "sft":
        return Work("read", config.epochs * metrics.get("rows", 0), config.max_length, config.batch)
    if kind == "pretrain":
        return Work("read", config.steps * config.accumulate, config.batch_tokens, config.accumulate)
    if kind in DRAWN:
        return Work("draw", metrics.get("drawn", 0), config.max_tokens, 0)
    if kind == "rehearsal":
        return Work("draw", config.n, config.max_tokens, 0)
    if kind == "eval":
        drawn = config.k * sum(pace["first"] + pace["rest"] for pace in manifest.get("paces", ()))
        return Work("draw", drawn, config.max_tokens, 0, models=len(manifest["inputs"]["models"]))
    return None
