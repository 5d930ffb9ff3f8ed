"""Rollouts are graded while the engine draws the rest, and what the engine returns in the end is what counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewards.scorer import Scorer
from rl.drawing import Drawn, draw_and_grade
from rollout.types import Each, Rollout, Sample, Scored

ROWS = [{"id": "a", "prompt": "Count to 1", "answer": "1"}, {"id": "b", "prompt": "Count to 2", "answer": "2"}]
NOTES = '''
from rewards import Sample, reward

@reward
def notes(s: Sample, *, folder: str = "") -> float:
    """1 for the answer; leaves a file of this name."""
    open(f"{folder}/{s.row['id']}-{s.completion}", "w").close()
    return float(s.completion == s.answer)
'''


def rollout(token: int) -> Rollout:
    return Rollout([9], [token], [-0.5], "stop")


def draw(generate: Any, scorer: Any) -> Drawn:
    return draw_and_grade(ROWS, 2, generate, scorer, lambda rollout: str(rollout.completion_ids[0]))


def test_the_first_is_graded_before_the_last_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(NOTES)

    def generate(each: Each) -> list[list[Rollout]]:
        each(3, rollout(2))
        until = time.monotonic() + 30
        while not (tmp_path / "b-2").exists():
            assert time.monotonic() < until, "the reward waits for the rest"
            time.sleep(0.01)
        return [[rollout(1), rollout(2)], [rollout(1), rollout(2)]]

    weights = {"notes": {"weight": 1.0, "folder": str(tmp_path)}}
    with Scorer(weights, [tmp_path / "notes.py"], workers=1) as scorer:
        drawn = draw(generate, scorer)
    assert drawn.scored.total_P_G == [[1.0, 0.0], [0.0, 1.0]]
    assert [[sample.row["id"] + sample.completion for sample in group] for group in drawn.samples] == [
        ["a1", "a2"],
        ["b1", "b2"],
    ]


def test_what_was_told_and_then_drawn_anew_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(NOTES)

    def generate(each: Each) -> list[list[Rollout]]:
        for place in range(4):
            each(place, rollout(1))
        return [[rollout(1), rollout(1)], [rollout(2), rollout(1)]]

    weights = {"notes": {"weight": 1.0, "folder": str(tmp_path)}}
    with Scorer(weights, [tmp_path / "notes.py"], workers=1) as scorer:
        drawn = draw(generate, scorer)
    assert drawn.scored.total_P_G == [[1.0, 1.0], [1.0, 0.0]]
    assert drawn.samples[1][0].completion == "2"


def test_a_scorer_that_wants_all_at_once_gets_all_at_once() -> None:
    asked: list[Sequence[Sequence[Sample]]] = []

    def scorer(samples: Sequence[Sequence[Sample]]) -> Scored:
        asked.append(samples)
        return Scored([[float(sample.completion) for sample in group] for group in samples], {})

    def generate(each: Each) -> list[list[Rollout]]:
        each(2, rollout(3))
        return [[rollout(1), rollout(2)], [rollout(3), rollout(4)]]

    assert draw(generate, scorer).scored.total_P_G == [[1.0, 2.0], [3.0, 4.0]] and len(asked) == 1
