"""The numbers of an evaluation, against values worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest

from pipelines.evaluation import (
    Judged,
    consensus,
    evaluate,
    interval,
    pass_at_k,
    sizes,
    standard_error,
    ungraded_line,
)


def judged(problem: str, verdicts: str, *, family: str = "math", votes: str | None = None) -> list[Judged]:
    """One sample per character: + right, - wrong, ? not graded. `votes`: the answers, '.' for none."""
    return [
        Judged(
            id=problem,
            family=family,
            correct={"+": True, "-": False, "?": None}[mark],
            n_tokens=10 * (i + 1),
            finished=mark != "-",
            vote=None if votes is None or votes[i] == "." else votes[i],
            votes=votes is not None,
        )
        for i, mark in enumerate(verdicts)
    ]


def test_pass_at_k_is_the_share_of_subsets_with_a_right_one() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                hits = [any(i < c for i in subset) for subset in combinations(range(n), k)]
                assert pass_at_k(n, c, k) == pytest.approx(sum(hits) / len(hits))


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(4, 1, 2) == 0.5  # 1 - C(3,2)/C(4,2) = 1 - 3/6
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - 21 / 252)
    assert pass_at_k(8, 0, 8) == 0.0 and pass_at_k(8, 8, 1) == 1.0
    assert pass_at_k(200, 1, 100) == 0.5
    with pytest.raises(AssertionError):
        pass_at_k(4, 1, 5)


def test_sizes_are_powers_of_two_and_k_itself() -> None:
    assert sizes(0) == [] and sizes(1) == [1] and sizes(6) == [1, 2, 4, 6] and sizes(8) == [1, 2, 4, 8]


def test_consensus_votes() -> None:
    assert consensus(judged("a", "++-", votes="778")) == 1.0
    assert consensus(judged("a", "+--", votes="788")) == 0.0
    assert consensus(judged("a", "+-", votes="78")) == 0.5  # a tie of right and wrong
    assert consensus(judged("a", "+--", votes="789")) == pytest.approx(1 / 3)
    assert consensus(judged("a", "+---", votes="7...")) == 1.0  # no answer, no vote
    assert consensus(judged("a", "--", votes="..")) == 0.0
    assert consensus(judged("a", "++--", votes="7x88")) == 0.5  # right answers are one answer however they are written


def test_standard_error_by_hand() -> None:
    assert standard_error([0.0, 1.0]) == pytest.approx(0.5)
    assert standard_error([0.0, 0.5, 1.0]) == pytest.approx(0.5 / math.sqrt(3))
    assert standard_error([0.5]) is None


def test_interval_is_wilsons() -> None:
    """10 problems, one sample each, 4 right: stderr^2 = 0.24/9, so 9 effective trials; Wilson for 0.4 of 9."""
    low, high = interval([1.0] * 4 + [0.0] * 6, total=10) or []
    z, p, n = 1.959964, 0.4, 9.0
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert (low, high) == (pytest.approx(centre - half), pytest.approx(centre + half))
    assert (low, high) == (pytest.approx(0.1603, abs=1e-4), pytest.approx(0.6995, abs=1e-4))


def test_interval_keeps_a_width_at_the_ends() -> None:
    low, high = interval([1.0] * 20, total=160) or []
    assert high == 1.0 and low == pytest.approx(20 / (20 + 1.959964**2))  # Wilson's bound for 20 of 20
    assert interval([], total=0) is None


def test_interval_comes_close_to_the_normal_one_with_many_problems() -> None:
    means = [(i % 9) / 8 for i in range(900)]
    stderr = standard_error(means)
    assert stderr is not None
    low, high = interval(means, total=7200) or []
    assert high - low == pytest.approx(2 * 1.96 * stderr, rel=0.01)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.001)


def test_a_whole_evaluation_by_hand() -> None:
    samples = [
        *judged("m1", "++--", votes="7789"),  # 0.5, pass@2 = 1 - 1/6, consensus 1
        *judged("m2", "----", votes="1122"),  # 0
        *judged("c1", "+++-", family="code"),  # 0.75, pass@2 = 1
    ]
    scores = evaluate(samples)
    assert scores["pass@1"] == pytest.approx((0.5 + 0 + 0.75) / 3)
    assert scores["pass@k"] == {
        "1": pytest.approx(1.25 / 3),
        "2": pytest.approx((5 / 6 + 0 + 1) / 3),
        "4": pytest.approx(2 / 3),
    }
    assert scores["cons@k"] == 0.5  # over the two problems that have answers to compare
    assert (scores["n_problems"], scores["k"], scores["ungraded"]) == (3, 4, 0)
    assert scores["mean_tokens"] == 25.0 and scores["finished"] == pytest.approx(5 / 12)
    assert list(scores["families"]) == ["math", "code"]
    assert scores["families"]["math"]["pass@1"] == 0.25
    assert scores["families"]["code"]["cons@k"] is None and scores["families"]["code"]["stderr"] is None


def test_samples_that_could_not_be_graded_count_for_nothing() -> None:
    scores = evaluate([*judged("a", "+-??", votes="78.."), *judged("b", "????", votes="....")])
    assert (scores["pass@1"], scores["n_problems"], scores["k"], scores["ungraded"]) == (0.5, 1, 2, 6)
    nothing = evaluate(judged("b", "??", votes=".."))
    assert nothing["pass@1"] is None and nothing["ci95"] is None and nothing["pass@k"] == {}


def test_a_noticeable_share_of_ungraded_samples_is_told_in_one_line() -> None:
    few, some = judged("a", "+" * 10 + "?"), judged("a", "+" * 9 + "?")
    chat = [replace(one, open=True) for one in judged("b", "????")]
    assert ungraded_line({"base": few, "final": chat}) is None  # under a tenth; and nobody asked for a verdict on chat
    line = ungraded_line({"base": few, "final": [*some, *chat], "last": judged("a", "??")})
    assert line is not None and "\n" not in line
    assert "count nowhere: 1 of 10 samples of final, 2 of 2 samples of last; no reward" in line
