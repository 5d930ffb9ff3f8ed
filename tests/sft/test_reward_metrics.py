"""Held-out numbers of a reward model, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.reward_metrics import auc, calibration_error, label_numbers, pair_numbers, sigmoid, wilson

LOG3 = math.log(3)  # sigmoid(log 3) = 3/4


def test_pairs_by_hand() -> None:
    # Three pairs: right by log 3 (longer one chosen), wrong by log 3 (shorter one chosen), a tie (equal lengths).
    found = pair_numbers([LOG3, 0.0, 0.0, LOG3, 1.0, 1.0], [9, 5, 3, 7, 4, 4])
    assert found["rows"] == 3 and found["accuracy"] == pytest.approx(0.5) and found["margin"] == pytest.approx(0.0)
    assert found["brier"] == pytest.approx((1 / 16 + 9 / 16 + 1 / 4) / 3)
    assert (found["length_chosen"], found["length_rejected"]) == (16 / 3, 16 / 3)
    assert found["longer_chosen"] == 0.5 and found["accuracy_shorter_better"] == 0.0
    # Bins: .75 (truths 1 and 0), .25 (0 and 1), .5 (1 and 0): gaps .25, .25 and 0.
    assert found["calibration_error"] == pytest.approx((0.25 * 2 + 0.25 * 2) / 6)


def test_labels_by_hand() -> None:
    found = label_numbers([LOG3, -LOG3, LOG3, -LOG3], [1.0, 0.0, 0.0, 1.0], [2, 4, 6, 8])
    assert found["accuracy"] == 0.5 and found["auc"] == 0.5 and found["margin"] == pytest.approx(0.0)
    assert found["brier"] == pytest.approx((1 / 16 + 9 / 16) / 2)
    assert found["calibration_error"] == pytest.approx(0.25)
    assert (found["length_good"], found["length_bad"], found["score_lowest"]) == (5, 5, -LOG3)


def test_one_sided_labels_have_no_auc() -> None:
    found = label_numbers([1.0, 2.0], [1.0, 1.0], [1, 1])
    assert found["auc"] is None and found["margin"] is None and found["length_bad"] is None


def test_a_perfectly_calibrated_set_has_no_calibration_error() -> None:
    assert calibration_error([(0.75, 1.0)] * 3 + [(0.75, 0.0)]) == pytest.approx(0.0)


def test_wilson_interval_of_eight_in_ten() -> None:
    assert wilson(0.8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)


scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(scores, scores)
def test_auc_is_the_share_of_won_comparisons(high: list[float], low: list[float]) -> None:
    wins = sum((a > b) + 0.5 * (a == b) for a in high for b in low)
    assert auc(high, low) == pytest.approx(wins / (len(high) * len(low)))


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_sigmoid_never_overflows(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
