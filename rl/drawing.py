"""Rollouts of some problems, graded while the engine still draws the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rollout.types import Each, EagerScorer, Grading, Rollout, Sample, Scored, Scorer


@dataclass(frozen=True, slots=True)
class Drawn:
    """P groups of rollouts as samples, with their scores. `seconds`: of generating, and of grading after that."""

    rollouts: Sequence[Sequence[Rollout]]
    samples: Sequence[Sequence[Sample]]
    scored: Scored
    seconds: Mapping[str, float]


def draw_and_grade(
    problems: Sequence[Mapping[str, Any]],
    n: int,
    generate: Callable[[Each], list[list[Rollout]]],
    scorer: Scorer,
    decode: Callable[[Rollout], str],
) -> Drawn:
    """Draw `n` rollouts for each problem by `generate(each)` (see `rollout.types.Engine`) and have them graded. A
    scorer that wants all samples at once gets them at the end."""
    began = time.perf_counter()
    samples: list[dict[int, Sample]] = [{} for _ in problems]
    heard: dict[int, list[int]] = {}
    with _begin(scorer, [n] * len(problems)) as grading:

        def each(place: int, rollout: Rollout) -> None:
            p, g = divmod(place, n)
            heard[place] = rollout.completion_ids
            samples[p][g] = _sample(problems[p], decode(rollout), rollout)
            grading.add((p, g, samples[p][g]))

        rollouts = generate(each)
        generated = time.perf_counter()
        for place, rollout in enumerate(rollout for group in rollouts for rollout in group):
            if heard.get(place) != rollout.completion_ids:
                each(place, rollout)
        scored = grading.result()
    seconds = {"generate": generated - began, "score": time.perf_counter() - generated}
    return Drawn(rollouts, [[group[g] for g in range(n)] for group in samples], scored, seconds)


def _begin(scorer: Scorer, sizes_P: Sequence[int]) -> Grading:
    return scorer.begin(sizes_P) if isinstance(scorer, EagerScorer) else _AtOnce(scorer, sizes_P)


class _AtOnce:
    """`Grading` that waits for the last sample."""

    def __init__(self, scorer: Scorer, sizes_P: Sequence[int]) -> None:
        self._scorer, self._samples = scorer, [dict[int, Sample]() for _ in sizes_P]

    def add(self, *samples: tuple[int, int, Sample]) -> None:
        for p, g, sample in samples:
            self._samples[p][g] = sample

    def result(self) -> Scored:
        return self._scorer([[group[g] for g in sorted(group)] for group in self._samples])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _sample(problem: Mapping[str, Any], completion: str, rollout: Rollout) -> Sample:
    return Sample(
        prompt=str(problem["prompt"]),
        completion=completion,
        answer=problem.get("answer"),
        finish=rollout.finish,
        n_tokens=len(rollout.completion_ids),
        row=problem,
    )
