"""Advantages against hand calculations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.advantages import STD_FLOOR, group_advantages
from rl.batch import split_scores
from rl.numbers import log_line, step_numbers
from rollout.types import Sample, Scored


def test_group_advantages_by_hand() -> None:
    """Rewards 1, 0, 0, 1: mean 0.5, sample std sqrt(4 x 0.25 / 3) = 0.57735."""
    got = group_advantages([[1.0, 0.0, 0.0, 1.0]])
    unit = 0.5 / (0.5773502691896258 + STD_FLOOR)
    assert got.values_P_G[0] == pytest.approx([unit, -unit, -unit, unit])
    assert got.zero_variance == 0 and got.unscored == 0


def test_a_missing_score_leaves_the_baseline_alone() -> None:
    """None is no zero: 1, None, 0 has mean 0.5 and std 0.70711; the unscored sample learns nothing."""
    got = group_advantages([[1.0, None, 0.0], [None, None, 2.0], [3.0, 3.0, 3.0]])
    unit = 0.5 / (0.7071067811865476 + STD_FLOOR)
    assert got.values_P_G == [pytest.approx([unit, 0.0, -unit]), [0.0] * 3, [0.0] * 3]
    assert got.zero_variance == pytest.approx(2 / 3) and got.unscored == pytest.approx(3 / 9)


def test_equal_scores_are_exactly_zero_in_spite_of_rounding() -> None:
    assert group_advantages([[0.1] * 7]).values_P_G == [[0.0] * 7]


def test_scaling_choices() -> None:
    groups = [[1.0, 0.0], [4.0, 0.0]]
    assert group_advantages(groups, "none").values_P_G == [[0.5, -0.5], [2.0, -2.0]]
    batch_std = (((1 - 1.25) ** 2 + 1.25**2 * 2 + (4 - 1.25) ** 2) / 3) ** 0.5 + STD_FLOOR
    assert group_advantages(groups, "batch").values_P_G[1] == pytest.approx([2 / batch_std, -2 / batch_std])


SCORES = st.integers(-40, 40).map(lambda n: n / 8)
GROUPS = st.lists(st.lists(st.none() | SCORES, min_size=2, max_size=8), min_size=1, max_size=4)
SCALES = st.sampled_from(["group", "batch", "none"])


@given(GROUPS, SCALES)
def test_advantages_of_a_group_sum_to_zero_and_keep_its_order(groups: list[list[float | None]], scale: Any) -> None:
    for scores, values in zip(groups, group_advantages(groups, scale).values_P_G, strict=True):
        assert sum(values) == pytest.approx(0, abs=1e-9)
        scored = [(r, a) for r, a in zip(scores, values, strict=True) if r is not None]
        assert all((r < s) == (a < b) for r, a in scored for s, b in scored)
        assert all(a == 0 for r, a in zip(scores, values, strict=True) if r is None)


@given(GROUPS, SCALES, SCORES)
def test_a_bonus_for_everybody_changes_no_advantage(groups: list[list[float | None]], scale: Any, bonus: float) -> None:
    raised = [[None if r is None else r + bonus for r in group] for group in groups]
    for one, other in zip(*(group_advantages(g, scale).values_P_G for g in (groups, raised)), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@given(GROUPS)
def test_with_std_a_larger_reward_weight_changes_little_without_it_everything(
    groups: list[list[float | None]],
) -> None:
    """Dividing by the standard deviation takes the scale out (up to the floor); the mean alone keeps it."""
    doubled = [[None if r is None else 2 * r for r in group] for group in groups]
    for one, other in zip(*(group_advantages(g).values_P_G for g in (groups, doubled)), strict=True):
        assert one == pytest.approx(other, rel=2 * STD_FLOOR / 0.04)
    for one, other in zip(*(group_advantages(g, "none").values_P_G for g in (groups, doubled)), strict=True):
        assert [2 * a for a in one] == pytest.approx(other)


def test_step_numbers() -> None:
    scored = Scored([[1.1, 0.1], [0.1, None]], {"math": [[1.0, 0.0], [None, None]], "format": [[1.0] * 2, [1.0, None]]})
    rows = [{"family": "math"}, {"family": "math"}, {"family": "chat"}, {"family": "chat"}]
    samples = [
        Sample("p", "Wait: check waiting", finish=finish, n_tokens=n, row=row)
        for finish, n, row in zip(("stop", "length", "stop", "stop"), (4, 8, 6, 2), rows, strict=True)
    ]
    pairs = [samples[:2], samples[2:]]
    numbers = step_numbers(split_scores([0, 1], [[], []], pairs, scored), ("math", "code"))
    assert numbers == {
        "part/math": 0.5, "part/format": 1.0, "length": 5.0, "finished": 0.75, "accuracy": 0.5,
        "accuracy/math": 0.5, "length/right": 4.0, "length/wrong": 8.0,
        "reflection": 2.0,
    }  # fmt: skip


def test_log_line_renames_and_drops() -> None:
    logs = {"learning_rate": 0.1, "kl": None, "clip_ratio/region_mean": 0.2, "completions/max_length": 3, "length": 2}
    assert log_line(logs | {"load/1": [0.25, 0.75]}) == {
        "lr": 0.1, "clip_fraction": 0.2, "length": 2, "load/1": [0.25, 0.75],
    }  # fmt: skip
