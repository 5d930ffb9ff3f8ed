"""What an evaluation measured beside right and wrong, as columns: format, language, preference, safety."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.report_data import Json, ScoreSet, mapping, number
from pipelines.report_svg import pretty

DASH = "–"


@dataclass(frozen=True)
class Measure:
    """One column: the name in scores.json, the title a reader sees, and whether its values are shares (0..1)."""

    name: str
    title: str
    share: bool

    def cell(self, numbers: Json) -> tuple[str, str]:
        """(mean, ± half its 95% interval) of one model or family: shares in percent, else as they are."""
        found = mapping(mapping(numbers.get("measures")).get(self.name))
        value, scale = number(found.get("mean")), 100.0 if self.share else 1.0
        if value is None:
            return DASH, ""
        pair = found.get("ci95")
        ends = [number(end) for end in pair] if isinstance(pair, list) and len(pair) == 2 else []
        half = (ends[1] - ends[0]) / 2 if ends and ends[0] is not None and ends[1] is not None else None
        shown = f"{scale * value:.1f}" if self.share else pretty(value)
        return shown, "" if half is None else f"±{scale * half:.1f}" if self.share else f"±{pretty(half)}"


def measured(models: Mapping[str, Any], protocol: Mapping[str, Any]) -> list[Measure]:
    """The measures any of the models has, in order of appearance; a win rate says whom against."""
    found: dict[str, bool] = {}
    for numbers in models.values():
        for name, measure in mapping(mapping(numbers).get("measures")).items():
            found[name] = found.get(name, True) and mapping(measure).get("share") is True
    against = mapping(protocol.get("win")).get("against")
    titles = {"win": f"win vs {against}"} if against else {}
    return [Measure(name, titles.get(name, name), share) for name, share in found.items()]


def by_family(scores: ScoreSet) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(columns, rows) of the measures that several families have, a column for each family; nothing where none has."""
    columns: list[tuple[Measure, str]] = []
    for measure in measured(scores.models, scores.protocol):
        own = [family for family in scores.families() if _has(scores, measure, family)]
        columns += [(measure, family) for family in own] if len(own) > 1 else []
    rows = [
        (name, [" ".join(measure.cell(_part(m, family))).strip() for measure, family in columns])
        for name, m in scores.models.items()
    ]
    return [f"{measure.title}, {family}" for measure, family in columns], rows if columns else []


def _has(scores: ScoreSet, measure: Measure, family: str) -> bool:
    return any(measure.cell(_part(numbers, family))[0] != DASH for numbers in scores.models.values())


def _part(numbers: Json, family: str) -> Json:
    return mapping(mapping(numbers.get("families")).get(family))
