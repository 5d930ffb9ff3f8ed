"""`r1 show`: a run or one of its stages, for a reader and (`--json`) for a script."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.funnel import text as funnel_text
from pipelines.keys import MANIFEST
from pipelines.plan import align, duration
from pipelines.report_data import DAMAGED, read_json
from pipelines.report_measures import measured
from pipelines.run_folder import RUN, RunFolder
from pipelines.source import ConfigError, did_you_mean
from pipelines.store import flaw_in

DIED = "died"  # run.json says running, but no process has the run
SHOWN = ("funnel.json", "scores.json")  # what is read beside the manifest


def find(text: str, workdir: Path) -> tuple[Path, str]:
    """The run folder and the stage ('' for none) that RUN[/STAGE] names: a path, or a name in the workdir.

    Raises:
        ConfigError: there is no such run or stage.
    """
    given = Path(text)
    places = (given, workdir / given) if text.startswith((".", "~")) else (workdir / given, given)
    for path in places:
        if (path / RUN).is_file():
            if not RunFolder(path.parent, path.name).content:
                raise ConfigError([f"{path / RUN}: damaged or empty: the same `r1 run` writes it again"])
            return path, ""
        if (path.parent / RUN).is_file():
            stages = RunFolder(path.parent.parent, path.parent.name).content.get("stages", {})
            if path.name not in stages:
                raise ConfigError([f"{text}: the run has no stage {path.name} ({did_you_mean(path.name, stages)})"])
            return path.parent, path.name
    inside = sorted(str(p.parent) for p in given.glob(f"*/{RUN}"))
    if inside:
        raise ConfigError([f"{text}: is a workdir: name a run in it ({', '.join(inside[:3])})"])
    known = sorted(p.parent.name for p in workdir.glob(f"*/{RUN}"))
    hint = did_you_mean(given.name, known) or f"there are no runs in {workdir}"
    raise ConfigError([f"{text}: no such run ({hint})"])


def content(folder: Path, stage: str = "") -> dict[str, Any]:
    """Everything about a run: its record, each stage's record with manifest, and the scores by model.

    With a stage: that stage's part alone. `scores` is {model: {"pass@1": ..., "ci95": [low, high], "families": ...}};
    where two eval stages score a model of one name, the later stage's numbers are there, and both below `stages`.
    """
    run = RunFolder(folder.parent, folder.name)
    record = run.content
    if run.died:
        record = {**record, "status": DIED, "stages": {name: _died(e) for name, e in record["stages"].items()}}
    stages: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for name, entry in record.get("stages", {}).items():
        stages[name] = {"name": name, **entry}
        if "artifact" not in entry or entry["status"] not in ("done", "cached"):
            continue
        place = Path(os.path.normpath(folder / entry["artifact"]))
        if flaw := flaw_in(place, SHOWN):
            stages[name] |= {"artifact": str(place), "error": f"{flaw} (`r1 store verify --fix`, then run again)"}
            stages[name]["status"] = DAMAGED
            continue
        stages[name] |= {"artifact": str(place), "manifest": read_json(place / MANIFEST)}
        funnel = read_json(place / "funnel.json")
        if funnel:
            stages[name]["funnel"] = funnel
        told = read_json(place / "scores.json")
        found = told.get("models")
        if found:
            stages[name] |= {"scores": found, "protocol": told.get("protocol") or {}}
            scores |= _scored(found)
    if stage:
        return dict(stages[stage])
    return {**record, "stages": stages, "scores": scores}


def _died(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's record, of a run that no process is running any more."""
    return {**entry, "status": DIED} if entry["status"] == "running" else dict(entry)


def run_text(run: Mapping[str, Any]) -> str:
    """A run as a few lines: status, a line per stage, a line per scored model."""
    rows: list[Sequence[str]] = [("stage", "use", "status", "time", "numbers")]
    for name, entry in run["stages"].items():
        numbers = entry.get("error") or _numbers(entry.get("manifest", {}).get("metrics", {}))
        seconds = entry.get("wall_s") if "manifest" in entry else None
        rows.append((name, entry["use"], entry["status"], "" if seconds is None else duration(seconds), numbers))
    ended = f"{DIED}: the same `r1 run` goes on from there" if run["status"] == DIED else run["status"]
    parts = [f"{run['name']}: {ended} (seed {run['seed']}, from {run['file']})", align(rows)]
    told = {name: entry for name, entry in run["stages"].items() if _scored(entry.get("scores", {}))}
    for name, entry in told.items():
        parts += _score_tables(_scored(entry["scores"]), entry["protocol"], name if len(told) > 1 else "model")
    return "\n\n".join(parts)


def _scored(models: Mapping[str, Any]) -> dict[str, Any]:
    return {model: numbers for model, numbers in models.items() if "pass@1" in numbers}


def _score_tables(scores: Mapping[str, Any], protocol: Mapping[str, Any], title: str) -> list[str]:
    """One evaluation: pass@1 with interval, and what it measured beside; `title` heads the column of models."""
    columns = measured(scores, protocol)
    tables = [align([(title, "pass@1", "95% interval"), *map(_score, scores.items())])]
    if columns:
        head = (title, *(f"{column.title}{' %' if column.share else ''}" for column in columns))
        cells = {model: [column.cell(numbers) for column in columns] for model, numbers in scores.items()}
        tables.append(align([head, *((model, *map(" ".join, row)) for model, row in cells.items())]))
    return tables


def _score(item: tuple[str, Mapping[str, Any]]) -> Sequence[str]:
    name, numbers = item
    low_high = numbers.get("ci95")
    interval = f"{low_high[0]:.1%} to {low_high[1]:.1%}" if low_high else ""
    value = numbers.get("pass@1")
    return (name, f"{value:.1%}" if isinstance(value, float | int) else "", interval)


def stage_text(stage: Mapping[str, Any]) -> str:
    """One stage: where its artifact is, what it was made from, and what came out."""
    manifest = stage.get("manifest", {})
    rows: list[Sequence[str]] = [("stage", stage["name"]), ("use", stage["use"]), ("status", stage["status"])]
    if "error" in stage:
        rows.append(("error", stage["error"]))
    if manifest:
        rows.append(("artifact", stage["artifact"]))
        for name, output in manifest["outputs"].items():
            place = stage["artifact"] if output["path"] == "." else f"{stage['artifact']}/{output['path']}"
            rows.append((f"output {name}".strip(), f"{output['type']} in {place}"))
        rows += [(f"from {slot}", ", ".join(refs)) for slot, refs in manifest["refs"].items()]
        rows += [(f"with {key}", json.dumps(value)) for key, value in manifest["config"].items()]
        rows += [(key, _short(value)) for key, value in manifest["metrics"].items()]
        rows += [("time", duration(manifest["wall_s"])), ("seed", str(manifest["seed"]))]
        rows += [("device", manifest["device"]), ("commit", manifest["git"] or "unknown"), ("key", manifest["key"])]
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in manifest["versions"].items())))
    shown = funnel_text(stage["funnel"], examples=1) if "pass_rates" in stage.get("funnel", {}) else ""
    return align(rows) + (f"\n\n{shown}" if shown else "")


def _numbers(metrics: Mapping[str, Any]) -> str:
    return "  ".join(f"{key}={_short(value)}" for key, value in list(metrics.items())[:6])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
