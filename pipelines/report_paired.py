"""Models compared problem by problem: how much better each is than the one before it, and how sure that is."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from pipelines.evaluation import Z95, mean, standard_error
from pipelines.gates import FINEST, differences, sign_flip
from pipelines.report_data import Json


@dataclass(frozen=True)
class Difference:
    """`after` minus `before` in percentage points with a 95% interval, p of the exact two-sided sign-flip test."""

    before: str
    after: str
    points: float
    low: float
    high: float
    p: float
    problems: int
    better: int
    worse: int

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or '' where chance explains it (p above 0.05)."""
        return "" if self.p > 0.05 else "better" if self.points > 0 else "worse"


def pairs(models: list[str]) -> list[tuple[str, str]]:
    """Each model with the one before it, and the last with the first."""
    found = list(itertools.pairwise(models))
    return [*found, (models[0], models[-1])] if len(models) > 2 else found


def compare(rows: list[Json], models: list[str]) -> list[Difference]:
    """The differences that the rows of samples.parquet (model, id, correct) show."""
    found = []
    for before, after in pairs(models):
        gaps = differences(rows, after, before)
        shares = [gap / FINEST for gap in gaps]
        middle, error = mean(shares), standard_error(shares)
        if middle is None or error is None:
            continue
        p = min(1.0, 2 * min(sign_flip(gaps), sign_flip([-gap for gap in gaps])))
        low, high = middle - Z95 * error, middle + Z95 * error
        better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        found.append(Difference(before, after, 100 * middle, 100 * low, 100 * high, p, len(gaps), better, worse))
    return found


def p_text(p: float) -> str:
    """A p-value as a person writes it: 0.031, < 0.0001."""
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.{1 - math.floor(math.log10(p))}f}"
