"""Rollouts of some problems, graded while the engine still draws the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from rollout.types import Each, EagerScorer, Rollout, Sample, Scored, Scorer


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
    grading = scorer.begin([n] * len(problems)) if isinstance(scorer, EagerScorer) else None
    with grading or nullcontext():

        def each(place: int, rollout: Rollout) -> None:
            p, g = divmod(place, n)
            heard[place] = rollout.completion_ids
            samples[p][g] = _sample(problems[p], decode(rollout), rollout)
            if grading is not None:
                grading.add((p, g, samples[p][g]))

        rollouts = generate(each)
        generated = time.perf_counter()
        for place, rollout in enumerate(rollout for group in rollouts for rollout in group):
            if heard.get(place) != rollout.completion_ids:
                each(place, rollout)
        whole = [[group[g] for g in range(n)] for group in samples]
        scored = scorer(whole) if grading is None else grading.result()
    seconds = {"generate": generated - began, "score": time.perf_counter() - generated}
    return Drawn(rollouts, whole, scored, seconds)


def _sample(problem: Mapping[str, Any], completion: str, rollout: Rollout) -> Sample:
    return Sample(
        prompt=str(problem["prompt"]),
        completion=completion,
        answer=problem.get("answer"),
        finish=rollout.finish,
        n_tokens=len(rollout.completion_ids),
        row=problem,
    )
