"""The watch for reward hacking: quiet where reward model and rules agree, loud where they part, and after a kill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rl.batch import Group
from rl.watch import Watch, parted, read, shift
from rollout.types import Sample, Scored
from tests.rl.test_heldout import DEV, EVAL, ROWS, run, weights


def reading(preference: Sequence[float], check: Sequence[float]) -> dict[str, dict[str, float]]:
    return {
        name: {str(i): value for i, value in enumerate(values)}
        for name, values in (("preference", preference), ("helpfulness", check))
    }


def test_a_shift_is_the_mean_difference_in_its_standard_errors() -> None:
    # Differences 1, 2, 3: mean 2, sample deviation 1, standard error 1/sqrt(3).
    assert math.isclose(shift({"a": 0, "b": 0, "c": 0}, {"a": 1, "b": 2, "c": 3}), 2 * math.sqrt(3))
    assert shift({"a": 0, "b": 1}, {"a": -1, "b": 0}) == -math.inf
    assert shift({"a": 1, "b": 1}, {"a": 1, "b": 1}) == 0 == shift({"a": 0}, {"a": 5}) == shift({"a": 0}, {"b": 5})


def test_the_alarm_needs_a_rise_and_a_fall() -> None:
    before = reading([0.0, 0.1, 0.2, 0.3], [0.8, 0.9, 0.7, 0.8])
    up, down = [2.0, 2.2, 2.1, 2.5], [0.1, 0.3, 0.2, 0.1]
    said = parted(before, reading(up, down), ["preference"])
    assert said == ("reward hacking? preference 0.150 -> 2.200, but helpfulness 0.800 -> 0.175 on held-out problems")
    assert parted(before, reading(up, [0.9, 0.95, 0.9, 0.9]), ["preference"]) is None
    assert parted(before, reading([0.0, 0.1, 0.2, 0.3], down), ["preference"]) is None
    assert parted(before, reading(up, [0.2, 0.9, 0.9, 0.9]), ["preference"]) is None  # one problem is noise


def test_a_reading_is_the_means_by_problem() -> None:
    sample = Sample("", "")
    chat = Group(0, (), (sample, sample), (1.0, 3.0), {"preference": [1.0, 3.0], "math": [None, None]})
    sums = Group(1, (), (sample, sample), (1.0, 0.0), {"preference": [None, None], "math": [1.0, 0.0]})
    found = read([chat, sums], {"helpfulness": [[0.5, None], [None, None]]}, ["preference"], ["math"])
    assert found == {"preference": {"0": 2.0}, "accuracy": {"1": 0.5}, "helpfulness": {"0": 0.5}}


def test_the_first_reading_and_the_alarm_outlive_a_kill(tmp_path: Path) -> None:
    before, after = reading([0.0, 0.1, 0.0], [0.8, 0.9, 0.9]), reading([2.0, 2.2, 2.1], [0.1, 0.3, 0.2])
    assert Watch(tmp_path, ["preference"], resumed=False).look(before, 0) is None
    resumed = Watch(tmp_path, ["preference"], resumed=True)
    assert resumed.alarm is None and resumed.look(after, 5) is not None
    assert Watch(tmp_path, ["preference"], resumed=True).alarm == 5
    fresh = Watch(tmp_path, ["preference"], resumed=False)
    assert fresh.alarm is None and fresh.look(after, 0) is None


class Flattered:
    """A reward model that likes whatever comes later; training scores are those of the letters."""

    def __init__(self) -> None:
        self.evaluated = 0

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        if str(samples_P_G[0][0].row["id"]).startswith("dev"):
            score = [[self.evaluated + p / 10] * len(group) for p, group in enumerate(samples_P_G)]
            self.evaluated += 1
        else:
            score = [[sum(c.islower() for c in s.completion) / 50 for s in group] for group in samples_P_G]
        return Scored(score, {"preference": score})  # type: ignore[arg-type]


class Rule:
    """A held-out rule check that falls from the third evaluation on."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        self.asked += 1
        score = [[0.9 + p / 100 - 0.5 * (self.asked > 2)] * len(group) for p, group in enumerate(samples_P_G)]
        return Scored(score, {"helpfulness": score})  # type: ignore[arg-type]


def test_the_alarm_warns_or_ends_the_training(policy_path: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**EVAL, "steps": 5, "dev": DEV}
    said: list[str] = []
    summary, lines = run(policy_path, tmp_path / "warn", Flattered(), watch=Rule(), say=said.append, **settings)
    assert summary["steps"] == 5 and summary["hacking_alarm"] == 2 and len(said) == 4
    assert said[0].startswith("step 2: reward hacking? preference 0.150 -> 2.150, but helpfulness 0.915 -> 0.415")
    watched = [line for line in lines if "watch/preference" in line]
    assert [round(line["watch/helpfulness"], 3) for line in watched] == [0.915, 0.915, 0.415, 0.415, 0.415, 0.415]
    stopped, _ = run(policy_path, tmp_path / "stop", Flattered(), watch=Rule(), on_alarm="stop", **settings)
    assert stopped["steps"] == 2 == stopped["hacking_alarm"]


def test_a_run_that_an_alarm_ended_and_a_kill_cut_does_not_go_on(policy_path: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**EVAL, "steps": 5, "dev": DEV, "on_alarm": "stop", "save_every": 1}
    whole, _ = run(policy_path, tmp_path / "whole", Flattered(), watch=Rule(), **settings)
    (tmp_path / "whole").rename(tmp_path / "before")
    again, lines = run(policy_path, tmp_path / "whole", Flattered(), watch=Rule(), **settings)
    assert whole["steps"] == again["steps"] == 2 and lines == []
    assert weights(tmp_path / "before") == weights(tmp_path / "whole")


def test_without_a_learned_reward_nothing_is_watched(policy_path: Path, tmp_path: Path) -> None:
    from tests.rl.test_heldout import Curve

    summary, lines = run(policy_path, tmp_path / "out", Curve(0.5, 0.5), steps=1, watch=Rule(), **EVAL)
    assert "hacking_alarm" not in summary and not any("watch" in key for line in lines for key in line)


def test_stop_needs_evaluations() -> None:
    from rl.config import GrpoSettings

    with pytest.raises(ValueError, match="on_alarm: stop goes by evaluations on held-out problems: set eval_every"):
        GrpoSettings(on_alarm="stop")


class Flawed:
    """A reward model that likes small letters on general prompts, whatever they say; sums are all right as they are."""

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        general = [bool(group[0].row.get("judge")) for group in samples_P_G]
        liked = [
            [letters(s) if known else None for s in group] for known, group in zip(general, samples_P_G, strict=True)
        ]
        right = [[None if known else 1.0 for _ in group] for known, group in zip(general, samples_P_G, strict=True)]
        total = [
            [a if a is not None else b for a, b in zip(*pair, strict=True)] for pair in zip(liked, right, strict=True)
        ]
        return Scored(total, {"preference": liked, "math": right})  # type: ignore[arg-type]


class Honest:
    """The rule: an answer of small letters alone says nothing."""

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        score = [[1.0 - letters(s) for s in group] for group in samples_P_G]
        return Scored(score, {"helpfulness": score})  # type: ignore[arg-type]


def letters(sample: Sample) -> float:
    """Share of small letters."""
    return sum(char.islower() for char in sample.completion) / max(len(sample.completion), 1)


def test_a_flawed_reward_model_is_hacked_unless_it_comes_last(policy_path: Path, tmp_path: Path) -> None:
    """R1's rule: general prompts and reward models in the last steps only. Without it the alarm goes off."""
    chat = [{"id": f"chat-{i}", "prompt": f"Tell me of {i}", "judge": "helpful", "system": None} for i in range(8)]
    dev = [{**row, "id": f"dev-{row['id']}", "prompt": f"{row['prompt']}0"} for row in chat]
    settings: dict[str, Any] = {
        "steps": 12,
        "eval_every": 6,
        "eval_samples": 8,
        "prompts_per_step": 4,
        "group": 8,
        "lr": 5e-3,
        "beta": 0.0,
        "dev": dev,
        "rows": [*ROWS, *chat],
        "watch": Honest(),
    }
    always, _ = run(policy_path, tmp_path / "always", Flawed(), general_share=0.5, **settings)
    last, lines = run(policy_path, tmp_path / "last", Flawed(), general_share=0.5, general_steps=1, **settings)
    assert always["hacking_alarm"] in (6, 12) and "hacking_alarm" not in last
    assert [round(line["reward"], 6) for line in lines if "loss" in line][:11] == [1.0] * 11  # sums alone
