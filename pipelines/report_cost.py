"""What each stage cost: its time, its share of the run's, where a training step's time went, tokens and speed."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.report_data import Run, StageRecord, mapping, number

PARTS = {"generate": "drawing", "score": "rewards", "train": "training", "sync": "sync", "canary": "canary"}


@dataclass(frozen=True)
class Cost:
    """One stage. share: of the run's time, percent. parts: (what, percent of the stage), largest first."""

    stage: str
    kind: str
    seconds: float
    share: float
    parts: list[tuple[str, float]]
    tokens: float | None


def costs(run: Run) -> list[Cost]:
    """The stages that took time, in running order."""
    total = sum(stage.wall_s or 0.0 for stage in run.stages)
    return [
        Cost(stage.name, stage.kind, stage.wall_s, 100 * stage.wall_s / total, parts(stage), tokens(stage))
        for stage in run.stages
        if stage.wall_s and total
    ]


def parts(stage: StageRecord) -> list[tuple[str, float]]:
    """Where the time of a stage that logs `seconds/...` went; what no step accounts for is starting and saving."""
    spent = {told: sum(number(row.get(f"seconds/{name}")) or 0.0 for row in stage.rows) for name, told in PARTS.items()}
    wall = stage.wall_s or 0.0
    if not wall or not sum(spent.values()):
        return []
    spent["start and save"] = max(0.0, wall - sum(spent.values()))
    whole = sum(spent.values())
    return [(told, 100 * seconds / whole) for told, seconds in spent.items() if seconds / whole >= 0.005]


def tokens(stage: StageRecord) -> float | None:
    """Tokens that the stage trained on, where it says so."""
    seen = [n for row in stage.rows if (n := number(row.get("num_tokens"))) is not None]
    return seen[-1] if seen else number(mapping(stage.manifest.get("metrics")).get("tokens"))
