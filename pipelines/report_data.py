"""What a report reads: the manifests, metrics, scores and samples that a finished (or half-finished) run left behind.

What is read is compared with its digest first; a stage that is not what was written is left out, and says so.
Apart from that everything here is tolerant. A run that died has stages without a manifest, an old artifact may lack
a field, and a metric may be NaN; a report of such a run must still open, because that is when it is needed most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines import journal
from pipelines.context import METRICS
from pipelines.keys import MANIFEST
from pipelines.store import flaw_in

READ = (METRICS, "scores.json", "samples.parquet", "funnel.json")  # the files of an artifact that a report looks at
DAMAGED = "damaged"  # the status of a stage whose artifact is not what was written
REPAIR = "`r1 store verify --fix` removes it, `r1 run` makes it again, `r1 report` draws this page anew"

Json = dict[str, Any]


@dataclass(frozen=True)
class ScoreSet:
    """One eval artifact: `models[name]` holds the numbers of scores.json, `folder` also has samples.parquet."""

    stage: str
    models: dict[str, Json]
    protocol: Json
    folder: Path

    def graded_families(self) -> list[str]:
        """The families in which something can be right or wrong; chat, which is only measured, is none of them."""

        def graded(numbers: Json) -> bool:
            return any(number(numbers.get(name)) for name in ("pass@1", "n_problems", "ungraded"))

        parts = {f: [mapping(mapping(m.get("families")).get(f)) for m in self.models.values()] for f in self.families()}
        return [family for family, numbers in parts.items() if any(map(graded, numbers))]

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
    error: str = ""
    folder: Path | None = None
    manifest: Json = field(default_factory=dict)
    rows: list[Json] = field(default_factory=list)
    funnel: Json | None = None
    inputs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def wall_s(self) -> float | None:
        """Seconds the stage took when it was made; a cached stage keeps the time of its making."""
        return number(self.manifest.get("wall_s"))

    @property
    def produces(self) -> str:
        """The artifact type that leaves this stage, as a word that also names its colour in the drawing."""
        types = [str(mapping(o).get("type")).lower() for o in mapping(self.manifest.get("outputs")).values()]
        by_kind = {
            "problems": "problems",
            "sample": "samples",
            "cold-start": "samples",
            "rehearsal": "samples",
            "eval": "scores",
            "report": "report",
        }
        return types[0] if types else by_kind.get(self.kind, "model")

    @property
    def output(self) -> Path | None:
        """The folder of the stage's first output: the stage's own folder or one below it."""
        outputs = [mapping(o) for o in mapping(self.manifest.get("outputs")).values()]
        return self.folder / str(outputs[0].get("path", ".")) if self.folder and outputs else self.folder


@dataclass(frozen=True)
class Run:
    """A run as the report sees it: stages in pipeline order, the scores found among them, run.json in `about`."""

    name: str
    stages: list[StageRecord]
    scores: list[ScoreSet]
    about: Json = field(default_factory=dict)

    def damage(self) -> list[str]:
        """What is left out because it is not what was written, a line for each stage."""
        return [f"{stage.name}: {stage.error}" for stage in self.stages if stage.status == DAMAGED]


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
    found = {str(name): mapping(numbers) for name, numbers in mapping(content.get("models")).items()}
    models = {name: numbers for name, numbers in found.items() if "pass@1" in numbers}  # else they are of `perplexity`
    return ScoreSet(stage, models, mapping(content.get("protocol")), folder) if models else None


def load_run(run_dir: Path) -> Run:
    """The run in `run_dir` (run.json and one folder or link per stage).

    Raises FileNotFoundError when the folder holds no run.json: then it is not a run.
    """
    if not (run_dir / "run.json").is_file():
        raise FileNotFoundError(f"{run_dir}: no run.json here; give the folder of a run, such as runs/r1-tiny")
    content = read_json(run_dir / "run.json")
    stages = mapping(content.get("stages"))
    records = link([_stage(name, mapping(entry), run_dir) for name, entry in stages.items()])
    found = [read_scores(r.output, r.name) for r in records if r.output]
    return Run(str(content.get("name") or run_dir.name), records, in_pipeline_order(found, records), content)


def load_scores(folder: Path) -> Run:
    """A run of one stage: the eval stage whose Scores artifact is in `folder`."""
    manifest = read_json(folder / "manifest.json")
    stage = StageRecord("scores", "eval", "done", str(manifest.get("key") or ""), folder=folder, manifest=manifest)
    scores = read_scores(folder, stage.name)
    return Run("scores", [stage], [scores] if scores else [])


def _stage(name: str, entry: Json, run_dir: Path) -> StageRecord:
    folder = run_dir / name
    if flaw := flaw_in(folder, READ):
        edges = _inputs(entry.get("from"))
        return StageRecord(name, str(entry.get("use") or ""), DAMAGED, str(entry.get("key") or ""), flaw, inputs=edges)
    manifest = read_json(folder / MANIFEST)
    kind = str(first(entry, "use") or first(manifest, "kind") or "")
    key = str(first(entry, "key") or first(manifest, "key") or "")
    # A stage that was stopped has no artifact; what it logged is still in its scratch folder.
    scratch = run_dir.parent / "store" / ".scratch" / f"{kind}-{key[:16]}"
    return StageRecord(
        name=name,
        kind=kind,
        status=str(entry.get("status") or ("done" if manifest else "missing")),
        key=key,
        error=str(entry.get("error") or ""),
        folder=folder if folder.is_dir() else None,
        manifest=manifest,
        rows=read_rows(folder / METRICS) if manifest else list(filter(None, journal.read(scratch / METRICS))),
        funnel=read_json(folder / "funnel.json") or None,
        inputs=_inputs(first(entry, "from") or first(manifest, "refs")),
    )


def _inputs(declared: object) -> list[tuple[str, str]]:
    """(input name, reference) for each edge of a stage; a reference is `stage` or `stage.output`."""
    edges: list[tuple[str, str]] = []
    for slot, value in mapping(declared).items():
        references = value if isinstance(value, list | tuple) else [value]
        edges += [(str(slot), str(reference)) for reference in references]
    return edges


def link(records: list[StageRecord]) -> list[StageRecord]:
    """The records with inputs that name stages, each pair once; a path to something outside the run is left out."""
    names = {record.name for record in records}
    linked = []
    for record in records:
        edges = dict.fromkeys((slot, reference.split(".")[0]) for slot, reference in record.inputs)
        linked.append(replace(record, inputs=[(slot, source) for slot, source in edges if source in names]))
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
