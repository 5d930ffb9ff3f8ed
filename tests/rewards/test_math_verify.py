"""Math verification: extraction, equality, bounded work, properties."""

import json
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math import extract, verify, verify_many

DEV = Path(__file__).resolve().parents[3] / "shared" / "data" / "math_dev.jsonl"

COMPLETIONS = [
    ("<think>6 + 6</think><answer>12</answer>", "12"),
    ("<think>\\boxed{11}</think><answer>So it is \\boxed{12}.</answer>", "12"),
    ("<answer>1</answer> no, <answer>12</answer>", "12"),
    ("We find \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}"),
    ("\\fbox{12}", "12"),
    ("\\boxed{12} and again \\boxed{ 12 }", "12"),
    ("\\boxed{1}, \\boxed{2}", "1, 2"),
    ("\\boxed{11}. No, wait: it must be \\boxed{12}", None),
    ("\\boxed{41}\\phantom{\\boxed{42}}", "41"),
    ("Work: 7 + 5 = 12\nAnswer: 12\n", "12"),
    ("Long story.\nThe final answer is $\\frac12$. I hope it is correct.", "\\frac12"),
    ("Answer: The answer is 12.", "12"),
    ("<think>The answer is 12", None),
    ("<think>a</think><answer>12", None),
    ("12", "12"),
    ("<think>12</think>", None),
    ("a long story without any answer " * 40, None),
    ("", None),
]

SAME = [
    ("1/2", "0.5"), ("1/2", "\\frac{2}{4}"), ("1/2", "\\dfrac12"), ("\\frac{1}{3}", "0.\\overline{3}"),
    ("1.5", "1 1/2"),
    ("1.5", "1\\frac{1}{2}"), ("1000", "1,000"), ("1000", "1{,}000"), ("-5", "$-5$."), ("10", "10\\text{ cm}"),
    ("28\\%", "28"), ("0.28", "28\\%"), ("\\$10", "10"), ("2\\sqrt{2}", "\\sqrt{8}"), ("x^2-1", "(x-1)(x+1)"),
    ("\\frac{1}{\\sqrt3-\\sqrt2}", "\\sqrt{3}+\\sqrt{2}"), ("\\sin^2 x+\\cos^2 x", "1"), ("e^{i\\pi}", "-1"),
    ("\\log_2 8", "3"), ("(1, 2)", "(1,2)"), ("1,2,3", "3, 1, 2"), ("\\{1,2\\}", "\\{2, 1\\}"), ("\\pm 2", "-2, 2"),
    ("(-\\infty, 2]", "(-\\infty,2]"), ("[1,2)\\cup(3,4]", "(3,4]\\cup[1,2)"), ("x > 2", "2 < x"), ("x=5", "5"),
    ("2x+2y=4", "x+y=2"), ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\ 2\\end{bmatrix}"),
    ("\\text{Monday}", "monday"), ("B", "(B)"), ("12:30", "12:30"), ("2^{10}", "1024"), ("\\pi", "π"), ("1/2", "½"),
    ("4.123105625617661", "\\sqrt{17}"), ("5!", "120"), ("\\binom{5}{2}", "10"), ("|{-3}|", "3"), ("2pi", "2\\pi"),
    ("\\frac{1}{2006!}", "\\frac{1}{2006!}"), ("6.02 \\times 10^{23}", "602000000000000000000000"),
]  # fmt: skip

DIFFERENT = [
    ("1/3", "0.333"), ("\\pi", "3.14"), ("\\pi", "3.14159"), ("5", "-5"),
    ("42", "\\boxed{41 = 42}"), ("42", "41 \\to 42"),
    ("42", "41, 42"), ("42", "41 or 42"), ("42", "\\{41, 42\\}"), ("42", "n"), ("5 \\text{ cm}", "5 \\text{ m}"),
    ("3 hours", "3 minutes"), ("1011_2", "1011_3"), ("(1,2)", "(2,1)"), ("[1,2)", "(1,2)"), ("x>2", "x<2"),
    ("x \\ge 2", "x > 2"), ("x", "X"), ("\\text{Friday}", "P"), ("A", "A, B, C, D"), ("1,2,3", "1,2"), ("\\pm 2", "2"),
    ("\\frac{1}{2004!}", "\\frac{1}{2006!}"), ("2^{-99}", "2^{-98}"), ("1000000", "1000001"), ("1234", "1.234"),
    ("(1,234)", "1234"), ("x^2", "x^3"), ("\\sqrt{x^2}", "x"), ("0", "10^{-40}"), ("0", "10^{-400}"), ("2^{10}", "210"),
    ("42", "4²"), ("42", "lambda: 42"), ("42", "__import__('os').system('true')"), ("-3^2", "9"), ("42", "4 2"),
    ("0=0", "x=42"), ("x = 42", "0 = 0"), ("1/2", "1/0"), ("no", "yes"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
]  # fmt: skip


@pytest.mark.parametrize(("completion", "answer"), COMPLETIONS)
def test_extract(completion, answer):
    assert extract(completion) == answer


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold, answer):
    assert verify(gold, answer) is True
    assert verify(gold, f"<think>\\boxed{{0}}</think> The answer is $\\boxed{{{answer}}}$.") is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold, answer):
    assert verify(gold, answer) is False
    if "boxed" not in answer:
        assert verify(gold, f"\\boxed{{{answer}}}") is False


def test_none_only_for_golds_without_an_answer():
    assert verify("", "12") is None
    assert verify("$ $", "12") is None
    assert verify("12", "") is False
    assert verify("12", "\\boxed{}") is False


HOSTILE = [
    "9^{9^{9^9}}", "10^{10^{10}}", "1000000000!", "((9!)!)!", "\\binom{10^9}{10^8}", "\\sin(10^{100000})",
    "(x+y+z)^{400}",
    "\\sqrt" * 3000 + "2", "(" * 5000 + "7" + ")" * 5000, "{" * 5000 + "7", "1" * 100_000,
    "0." + "9" * 50_000,
    "," * 50_000, "-" * 20_000 + "7", "7 " * 30_000, "\\boxed{" * 20_000, "\\frac{1}{" * 900 + "2" + "}" * 900,
    "$" * 9999,
    "the answer is " * 8000, "\\text{" + "a " * 30_000 + "}", "x_" * 3000, "1,2,3," * 600, "<answer>" * 9000,
    "\\begin{pmatrix}" * 2000, "a and " * 700, "\\pm" * 1500, "=" * 4000, "1_" * 2000, "|" * 3999, "^" * 3999,
    "'" * 3999,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_hostile_answers_are_cheap(text):
    for completion in (text, f"\\boxed{{{text}}}", f"<answer>{text}</answer>"):
        started = time.process_time()
        assert verify("7", completion) in (True, False)
        assert verify(completion, "7") in (True, False, None)
        assert time.process_time() - started < 1.0


def test_verify_many_agrees_and_survives():
    pairs = [*SAME, *DIFFERENT, ("7", "9^{9^{9^9}}")]
    assert verify_many(pairs, workers=1, timeout=5) == [verify(*pair) for pair in pairs]


ANSWERS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789xy+-*/^_(){}[],.=<>|!\\ $%", max_size=40),
    st.lists(st.sampled_from(["\\frac", "{", "}", "\\sqrt", "1", "23", "x", "^", "_", "\\pm", ",", "(", ")", "\\pi",
                              "\\boxed", "\\text", "\\begin{pmatrix}", "\\\\", "&", "=", "\\le", "."]), max_size=25)
    .map("".join),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(gold=ANSWERS, prediction=ANSWERS)
def test_never_raises(gold, prediction):
    assert verify(gold, prediction) in (True, False, None)


@settings(deadline=None, max_examples=200)
@given(answer=ANSWERS)
def test_reflexive(answer):
    if verify(answer, "1") is not None and extract(answer) == answer:
        assert verify(answer, answer) is True


RATIONALS = st.fractions(min_value=-10_000, max_value=10_000, max_denominator=500)


@settings(deadline=None, max_examples=200)
@given(value=RATIONALS, factor=st.integers(1, 50))
def test_equal_rewrites_of_a_fraction_keep_the_verdict(value: Fraction, factor: int):
    top, bottom = value.numerator * factor, value.denominator * factor
    sign = "-" if top < 0 else ""
    for text in (f"{top}/{bottom}", f"\\frac{{{top}}}{{{bottom}}}", f"{sign}\\dfrac{{{abs(top)}}}{{{bottom}}}",
                 f"$ {top} / {bottom} $", f"({top})/({bottom})", f"x = {top}/{bottom}"):  # fmt: skip
        assert verify(str(value), text) is True
        assert verify(str(value + 1), text) is False
        assert verify(text, str(value)) is True


@settings(deadline=None, max_examples=50)
@given(roots=st.lists(st.integers(-20, 20), min_size=1, max_size=4), nudge=st.integers(1, 9))
def test_polynomials_up_to_form(roots: list[int], nudge: int):
    factored = "".join(f"(x-({root}))" for root in roots)
    coefficients = [1]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    degree = len(roots)
    expanded = "+".join(f"({c})x^{{{degree - i}}}" for i, c in enumerate(coefficients))
    assert verify(expanded, factored) is True
    assert verify(f"{expanded}+{nudge}", factored) is False


@pytest.mark.skipif(not DEV.exists(), reason="labelled development cases are not on this machine")
def test_accuracy_on_the_development_cases(capsys):
    right, total, wrong = Counter(), Counter(), Counter()
    for case in map(json.loads, DEV.read_text().splitlines()):
        verdict = verify(case["gold"], case["completion"])
        if case["contested"] or case["group"] == "own_dos":
            continue
        total[case["group"]] += 1
        right[case["group"]] += verdict == case["expected"]
        if verdict != case["expected"]:
            wrong[("FN " if case["expected"] else "FP ") + case["kind"]] += 1
    with capsys.disabled():
        print(f"\nmath_dev: {dict(right)} of {dict(total)}, wrong: {dict(wrong)}")
    assert right.total() / total.total() >= 0.97
    assert not [kind for kind in wrong if kind.startswith("FP")]
