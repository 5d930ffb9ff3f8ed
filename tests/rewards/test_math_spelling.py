"""Math verification: answers spelt in another way are the same, near misses are not."""

import pytest

from rewards.math import verify


def pairs(*groups):
    """`(gold, answer)` for every answer of a gold."""
    return [(gold, answer) for gold, answers in groups for answer in answers]


SAME = pairs(
    # a comma with a space behind it separates; a thousands separator has none
    ("100, 200", ["200, 100", "\\{100, 200\\}"]), ("1, 2, 300", ["300,2,1"]), ("\\{100, 200\\}", ["100, 200"]),
    ("12, 345", ["12\\text{ and }345", "345, 12"]), ("0, 100", ["100, 0"]), ("x=100, 200", ["x=100\\text{ or }x=200"]),
    ("5, 125, 250", ["\\{5,125,250\\}", "5\\text{, }125\\text{, and }250"]),
    ("11111", ["11,\\! 111", "11,\\!111", "11{,}111", "11\\,111", "11 111", "11,111"]), ("1234567.5", ["1,234,567.5"]),
)  # fmt: skip

DIFFERENT = pairs(
    ("100, 200", ["100200", "100,200,300"]), ("5, 125, 250", ["5125250"]), ("0, 100", ["0100"]),
    ("x=100, 200", ["x=100200"]), ("11111", ["11, 111", "011,111"]),
)  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold, answer):
    assert verify(gold, answer) is True
    assert verify(gold, f"\\boxed{{{answer}}}") is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is False
