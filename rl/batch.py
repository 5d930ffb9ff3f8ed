"""The groups of one batch: drawn, scored, and replaced where there is nothing to learn from (DAPO's refill)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rollout.types import Rollout, Sample, Scored


@dataclass(frozen=True, slots=True)
class Group:
    """One problem's rollouts and their scores, all lists of length G. `row` is the problem's index."""

    row: int
    rollouts: Sequence[Rollout]
    samples: Sequence[Sample]
    total: Sequence[float | None]
    parts: Mapping[str, Sequence[float | None]]

    def is_flat(self, correct: Sequence[str]) -> bool:
        """Nothing to learn: all right or all wrong (DAPO, arXiv 2503.14476), or scores that do not differ.

        Where no part of `correct` applies (a chat, say), the scores alone decide.
        """
        scores = {r for r in self.total if r is not None}
        verdicts = {v for i in range(len(self.total)) if (v := verdict(self.parts, i, correct)) is not None}
        return len(scores) < 2 or len(verdicts) == 1


def verdict(parts: Mapping[str, Sequence[float | None]], i: int, correct: Sequence[str]) -> bool | None:
    """Whether sample i is right: each of its `correct` parts is 1. None where it has no such part."""
    values = [r for r in (parts[name][i] for name in correct if name in parts) if r is not None]
    return min(values) >= 1.0 - 1e-6 if values else None


Draw = Callable[[Sequence[int], int], list[Group]]  # (rows, round) -> a group for each row


def draw_groups(
    rows: Sequence[int], spare: Iterator[int], draw: Draw, rounds: int, correct: Sequence[str]
) -> tuple[list[Group], list[Group]]:
    """(a group for each place in `rows`, the groups given up on the way).

    After the first draw, up to `rounds` times, each flat group makes room for a problem from `spare`. What is still
    flat then stays and teaches nothing; so it does when `spare` runs out.
    """
    groups, given_up = draw(rows, 0), []
    for attempt in range(1, rounds + 1):
        flat = [place for place, group in enumerate(groups) if group.is_flat(correct)]
        fresh = list(islice(spare, len(flat)))
        if not fresh:
            break
        for place, group in zip(flat, draw(fresh, attempt), strict=False):  # fewer where `spare` runs out
            given_up.append(groups[place])
            groups[place] = group
    return groups, given_up


def split_scores(
    rows: Sequence[int], rollouts: Sequence[Sequence[Rollout]], samples: Sequence[Sequence[Sample]], scored: Scored
) -> list[Group]:
    """Scores of P groups as P groups."""
    return [
        Group(row, rollouts[p], samples[p], scored.total_P_G[p], {name: x[p] for name, x in scored.parts_P_G.items()})
        for p, row in enumerate(rows)
    ]
