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
    # words before and around a number
    ("72", ["\\text{72 clips}", "\\text{72 clips.}", "\\text{72 cm}", "\\textbf{72 clips}", "\\mathrm{72\\ clips}",
            "\\text{\\$72}", "\\text{72 km/h}", "\\text{a total of }72", "\\text{Total: }72", "\\text{Total = }72",
            "\\text{The answer is }72", "\\text{The answer is 72}", "\\text{exactly }72", "\\text{answer: }72",
            "answer: 72", "\\text{The total is 72 clips}", "\\text{So the answer is }72\\text{ clips}"]),
    ("10", ["\\text{10 dollars}"]), ("20", ["\\text{20%}"]), ("-7", ["\\text{-7}", "negative seven"]),
    ("x+1", ["\\text{The answer is }x+1"]),
    # what may stand behind a number
    ("42", ["42\\text{ different ways}", "42\\text{ years old}", "42\\text{ (students)}", "42\\text{ times}"]),
    ("504", ["42\\text{ dozen}", "42 dozen"]), ("4200", ["42\\text{ hundred}"]), ("42000", ["42\\text{k}"]),
    ("\\frac{3}{4}", ["\\text{three fourths}", "three-quarters", "\\text{three quarters}"]),
    ("\\frac12", ["\\text{one half}", "one-half", "half", "\\text{a half}"]), ("2.5", ["two and a half"]),
    ("9.8\\text{ m/s}^2", ["9.8\\text{ m/s2}", "9.8"]), ("72", ["\\text{Total}=72", "\\text{Total}=48+24=72"]),
    # set phrases
    ("\\text{no solution}", ["\\text{There is no solution}", "\\text{there are no solutions}", "\\{\\}", "\\emptyset",
                            "The equation has no solution.", "\\text{The system has no solution}",
                            "\\text{No solution exists}", "\\text{There are no real solutions}"]),
    ("\\text{does not exist}", ["The limit does not exist", "\\text{limit does not exist}", "\\text{DNE}"]),
    ("\\text{undefined}", ["\\text{It is undefined}"]), ("\\text{Hyperbola}", ["\\text{It is a hyperbola}"]),
    ("\\text{diverges}", ["\\text{The series diverges}", "divergent"]), ("[1,2]\\cap[3,4]", ["\\{ \\}"]),
    ("\\text{Yes}", ["\\text{Yes, because it is not even}", "Yes."]), ("\\text{No}", ["\\text{No, it is not}"]),
    ("\\infty", ["\\text{Infinity}"]), ("-\\infty", ["\\text{negative infinity}", "-\\text{infinity}"]),
)  # fmt: skip

DIFFERENT = pairs(
    ("100, 200", ["100200", "100,200,300"]), ("5, 125, 250", ["5125250"]), ("0, 100", ["0100"]),
    ("x=100, 200", ["x=100200"]), ("11111", ["11, 111", "011,111"]),
    ("72", ["\\text{not }72", "\\text{at least }72", "\\text{about }72", "\\text{less than }72", "\\text{The answer is not }72",
            "\\text{71 or }72", "\\text{The answer is at least }72", "\\text{72 or 73}", "\\text{73 clips}",
            "\\text{72 is wrong}", "\\text{a total of }73"]),
    ("\\text{June }20", ["\\text{July }20"]), ("\\text{Player }1", ["\\text{Case }1"]),
    ("42", ["42\\text{ is wrong}", "42\\text{ is not the answer}", "42\\text{ unless it is 43}", "42\\text{ (not sure)}",
            "42\\text{ plus 1}", "42\\text{ minus one}", "42\\text{ squared}", "42 squared", "42\\text{ factorial}",
            "42\\text{ dozen}", "42\\text{ hundred}", "42\\text{k}", "42\\text{ half}", "42\\text{ thirds}",
            "42\\text{ tenths}", "42\\text{ less than x}", "42\\text{ more than 1}",
            "42\\text{ times three}", "42\\text{ isn't right}", "42\\text{ halves}"]),
    ("5", ["5 \\text{ (or maybe 6)}"]), ("20", ["20 June", "20\\text{ June}"]),
    ("10\\text{ cm}", ["10:00 AM", "10 AM", "10\\text{ AM}"]), ("3", ["\\text{three fourths}", "\\text{three halves}"]),
    ("4", ["\\text{three fourths}"]), ("2", ["two and a half"]), ("7", ["negative seven"]),
    ("\\text{No}", ["\\text{no solution}", "\\text{none}", "\\text{No or yes}"]), ("\\emptyset", ["\\{0\\}", "0"]),
    ("\\text{Yes}", ["\\text{Yes, it is not}", "\\text{Yes and no}", "\\text{yesterday}"]),
    ("\\text{no solution}", ["\\text{There is one solution}", "\\text{no}"]), ("\\infty", ["\\text{negative infinity}"]),
    ("\\text{does not exist}", ["\\text{The limit exists}"]), ("\\text{diverges}", ["\\text{The series converges}"]),
)  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is False
