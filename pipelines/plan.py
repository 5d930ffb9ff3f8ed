"""`r1 plan`: which stages would run, why, and what that is likely to cost. Reads only, starts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.graph import Node, Pipeline
from pipelines.keys import Identity
from pipelines.measured import History
from pipelines.resolve import Resolver
from pipelines.run_folder import RunFolder
from pipelines.shapes import Shape
from pipelines.store import Made, Store, damage, read_made
from pipelines.work import Outlook, Work

Status = Literal["cached", "stale", "new"]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage of a plan. `cost_s`: seconds that `runs` past runs lead one to expect; None when there are none.

    node, work, model: the stage itself, what it has to do and by which model, where that can be told beforehand.
    """

    name: str
    kind: str
    status: Status
    reason: str
    cost_s: float | None
    runs: int = 0
    node: Node | None = None
    work: Work | None = None
    model: Shape | None = None


def rows(pipeline: Pipeline, folder: RunFolder, store: Store) -> list[Row]:
    """The plan, in running order."""
    history, outlook = History(store), Outlook(pipeline)
    found = []
    for node, last, made, reason in standing(pipeline, folder, store):
        work, model = outlook.visit(node, made, last.manifest if last is not None else history.newest(node))
        measured = None if made else history.predict(node, work, model)
        cost, runs = (measured.seconds, measured.runs) if measured else (0.0 if made else None, 0)
        status: Status = "cached" if made else "stale" if last is not None else "new"
        found.append(Row(node.name, node.stage.name, status, reason, cost, runs, node, work, model))
    return found


def standing(
    pipeline: Pipeline, folder: RunFolder, store: Store
) -> Iterator[tuple[Node, Made | None, Made | None, str]]:
    """(stage, what its last run left, its artifact if it is cached, why it is or is not), in running order."""
    resolver = Resolver(pipeline, store)
    for node in pipeline.nodes:
        last = folder.last(node.name)
        missing = resolver.missing(node)
        if missing:
            made, reason = None, f"depends on {', '.join(missing)}"
            if last is not None:
                reason = "; ".join([*_config_changes(last.manifest, node), reason])
        else:
            identity = resolver.identity(node)
            made = resolver.find(node, identity)
            reason = _cached(made) if made else _reason(node, identity, last, folder, store, pipeline.seed)
        yield node, last, made, reason


def _cached(made: Made) -> str:
    return f"made in {duration(made.manifest['wall_s'])}"


def _reason(node: Node, identity: Identity, last: Made | None, folder: RunFolder, store: Store, seed: int) -> str:
    """Why a stage with known inputs is not there."""
    record = folder.record(node.name)
    if record.get("last_status") == "stopped":
        return f"needs not met last time: {record.get('error', 'no message')}"
    same_attempt = record.get("key") == identity.key
    if same_attempt and record.get("last_status") == "failed":
        return f"failed last time: {record.get('error', 'no message')}"
    if same_attempt and record.get("last_status") in ("interrupted", "running"):
        return "interrupted last time"
    kept = read_made(store.folder(identity.kind, identity.key))
    if kept is not None and kept.manifest.get("key") == identity.key and damage(kept):
        return f"damaged in the store: {damage(kept)}"
    if last is None:
        return "never run" if not record.get("last_key") else "gone from the store"
    return "; ".join(_changes(node, identity, last.manifest, seed)) or "changed"


def _changes(node: Node, now: Identity, last: Mapping[str, Any], seed: int) -> list[str]:
    found = _config_changes(last, node)
    if last["seed"] != now.seed:
        found.append(f"seed {last['pipeline']['seed']} -> {seed}")
    for name, refs in node.inputs.items():
        before = last["inputs"].get(name)
        if before != [list(pair) for pair in now.inputs[name]]:
            told = [str(ref) for ref in refs]
            old = last.get("refs", {}).get(name, told)
            found.append(f"input {name} {', '.join(old)} -> {', '.join(told)}" if old != told else f"{name} changed")
    found += [f"input {name} dropped" for name in last["inputs"] if name not in now.inputs]
    for what, old, new in (("plugin", last["plugins"], now.plugins), ("file", last["files"], now.files)):
        found += [f"{what} {name} changed" for name in new if name in old and old[name] != new[name]]
        found += [f"{what} {name} added" for name in new if name not in old]
        found += [f"{what} {name} dropped" for name in old if name not in new]
    return found


def _config_changes(last: Mapping[str, Any], node: Node) -> list[str]:
    found = []
    if last["kind"] != node.stage.name:
        return [f"use {last['kind']} -> {node.stage.name}"]
    if last["version"] != node.stage.version:
        found.append(f"stage version {last['version']} -> {node.stage.version}")
    before, after = _flat(last["config"]), _flat(node.config.deciding())
    for name in dict.fromkeys([*after, *before]):
        if before.get(name, _NONE) != after.get(name, _NONE):
            found.append(f"config {name} {_show(before.get(name, _NONE))} -> {_show(after.get(name, _NONE))}")
    return found


_NONE = object()


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _show(value: object) -> str:
    text = "nothing" if value is _NONE else "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def table(planned: Sequence[Row], *, hint: bool = True) -> str:
    """The plan as text, with a last line that sums it up. `hint`: say how to estimate what was never measured."""
    lines: list[Sequence[str]] = [("stage", "use", "plan", "cost", "why")]
    for row in planned:
        cost = "" if row.status == "cached" else "unknown" if row.cost_s is None else f"~{duration(row.cost_s)}"
        lines.append((row.name, row.kind, row.status, cost, row.reason))
    due = [row for row in planned if row.status != "cached"]
    known = sum(row.cost_s for row in due if row.cost_s is not None)
    unknown = sum(row.cost_s is None for row in due)
    total = f"about {duration(known)}" if unknown < len(due) else ""
    total += f"{' and ' if total else ''}{unknown} of unknown cost" if unknown else ""
    end = f"{len(due)} of {len(planned)} stages would run: {total}" if due else "nothing to run: all stages are cached"
    return f"{align(lines)}\n\n{end}{_basis(due, hint)}"


def _basis(due: Sequence[Row], hint: bool) -> str:
    """Which costs are measured, and from how many runs."""
    counts = [f"{row.name} ({row.runs} run{'s' * (row.runs != 1)})" for row in due if row.runs and row.work is not None]
    lines = f"\nmeasured here: {', '.join(counts)}" if counts else ""
    if hint and any(row.cost_s is None and row.work is not None for row in due):
        lines += "\nnever run here: give --hardware for an estimate, as in --hardware 8xh800"
    return lines


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns of text, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
