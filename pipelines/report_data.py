"""What a report reads: the manifests, metrics, scores and samples that a finished (or half-finished) run left behind.

Everything here is tolerant. A run that died has stages without a manifest, an old artifact may lack a field, and a
metric may be NaN; a report of such a run must still open, because that is when it is needed most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class ScoreSet:
    """One eval artifact: `models[name]` holds the numbers of scores.json, `folder` also has samples.parquet."""

    stage: str
    models: dict[str, Json]
    protocol: Json
    folder: Path

    def families(self) -> list[str]:
        """Every problem family any model was scored on, in the order they first appear."""
        seen: dict[str, None] = {}
        for numbers in self.models.values():
            seen.update(dict.fromkeys(mapping(numbers.get("families"))))
        return list(seen)


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run. `inputs` lists (input name, source stage); `rows` are the lines of metrics.jsonl."""

    name: str
    kind: str
    status: str = ""
    key: str = ""
    folder: Path | None = None
    manifest: Json = field(default_factory=dict)
    rows: list[Json] = field(default_factory=list)
    funnel: Json | None = None
    inputs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def wall_s(self) -> float | None:
        """Seconds the stage took when it was made; a cached stage keeps the time of its making."""
        return number(first(self.manifest, "wall_s", "wall_time", "wall_time_s", "wall"))

    @property
    def produces(self) -> str:
        """The artifact type that leaves this stage, as a word that also names its colour in the drawing."""
        by_kind = {"problems": "problems", "sample": "samples", "eval": "scores", "report": "report"}
        return by_kind.get(self.kind, "model")


@dataclass(frozen=True)
class Run:
    """A run as the report sees it: stages in pipeline order and the scores found among them."""

    name: str
    stages: list[StageRecord]
    scores: list[ScoreSet]


def mapping(value: object) -> Json:
    """`value` if it is a mapping, else an empty one."""
    return dict(value) if isinstance(value, Mapping) else {}


def number(value: object) -> float | None:
    """A finite float, or None for anything else (booleans, strings, NaN, infinities)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def first(source: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of `names` that `source` has and that is not None."""
    return next((source[name] for name in names if source.get(name) is not None), None)


def read_json(path: Path) -> Json:
    """The object in `path`; empty when the file is absent, unreadable or holds something else."""
    try:
        return mapping(json.loads(path.read_text(encoding="utf-8", errors="replace")))
    except (OSError, ValueError):
        return {}


def read_rows(path: Path) -> list[Json]:
    """The objects of a JSON-lines file. A torn last line (the run was killed while writing it) is left out."""
    return list(_rows(path)) if path.is_file() else []


def _rows(path: Path) -> Iterator[Json]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def read_scores(folder: Path, stage: str) -> ScoreSet | None:
    """The eval artifact in `folder`, or None when it holds no usable scores.json."""
    content = read_json(folder / "scores.json")
    models = {str(name): mapping(numbers) for name, numbers in mapping(content.get("models")).items()}
    return ScoreSet(stage, models, mapping(content.get("protocol")), folder) if models else None


def load_run(run_dir: Path) -> Run:
    """The run in `run_dir` (run.json and one folder or link per stage).

    Raises FileNotFoundError when the folder holds no run.json: then it is not a run.
    """
    if not (run_dir / "run.json").is_file():
        raise FileNotFoundError(f"{run_dir}: no run.json here; give the folder of a run, such as runs/r1-tiny")
    content = read_json(run_dir / "run.json")
    stages = mapping(content.get("stages")) or {n: v for n, v in content.items() if isinstance(v, Mapping)}
    records = [_stage(name, mapping(entry), run_dir / name) for name, entry in stages.items()]
    records = link_by_key(records)
    found = [read_scores(r.folder, r.name) for r in records if r.folder]
    return Run(str(content.get("name") or run_dir.name), records, in_pipeline_order(found, records))


def _stage(name: str, entry: Json, folder: Path) -> StageRecord:
    manifest = read_json(folder / "manifest.json")
    funnel = read_json(folder / "funnel.json")
    return StageRecord(
        name=name,
        kind=str(first(manifest, "kind", "use") or first(entry, "kind", "use") or ""),
        status=str(entry.get("status") or ("done" if manifest else "missing")),
        key=str(first(entry, "key") or first(manifest, "key") or ""),
        folder=folder if folder.is_dir() else None,
        manifest=manifest,
        rows=read_rows(folder / "metrics.jsonl"),
        funnel=funnel or None,
        inputs=_inputs(first(entry, "from", "inputs") or first(manifest, "from", "inputs")),
    )


def _inputs(declared: object) -> list[tuple[str, str]]:
    """(input name, what it names) for each edge; a value is a reference, a list or mapping of them, or a record."""
    edges: list[tuple[str, str]] = []
    for slot, value in mapping(declared).items():
        edges += [(str(slot), reference) for reference in _references(value)]
    return edges


def _references(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        named = first(value, "stage", "key")
        return [named] if isinstance(named, str) else [r for inner in value.values() for r in _references(inner)]
    return [r for inner in value for r in _references(inner)] if isinstance(value, list | tuple) else []


def link_by_key(records: list[StageRecord]) -> list[StageRecord]:
    """The records with inputs that name stages; a reference may be `stage`, `stage.output` or an artifact key."""
    by_key = {record.key: record.name for record in records if record.key}
    names = {record.name for record in records}
    linked = []
    for record in records:
        edges = []
        for slot, reference in record.inputs:
            source = by_key.get(reference, reference.split(".")[0])
            if source in names and (slot, source) not in edges:
                edges.append((slot, source))
        linked.append(replace(record, inputs=edges))
    return linked


def in_pipeline_order(found: list[ScoreSet | None], records: list[StageRecord]) -> list[ScoreSet]:
    """The score sets that exist, each with its models in the order of the stages they come from."""
    rank = {record.name: i for i, record in enumerate(records)}
    ordered = []
    for scores in found:
        if scores is not None:
            names = sorted(scores.models, key=lambda name: rank.get(name, len(rank)))
            ordered.append(replace(scores, models={name: scores.models[name] for name in names}))
    return ordered
