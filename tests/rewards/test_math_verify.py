"""Math verification: which answers are equal, by example, by property and on labelled cases."""

import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math import extract, verify

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT.parent / "shared" / "data" / "math_dev.jsonl"

SAME = [
    ("1000", "1\\,000"), ("12,345.67", "12345.67"), ("0.5", ".5"), ("3/2", "3 / 2"), ("1/2", "{1 \\over 2}"),
    ("0.\\dot{3}", "1/3"), ("0.3\\overline{6}", "11/30"), ("2.314814814815 \\times 10^{-3}", "\\frac{1}{432}"),
    ("120", "\\frac{10!}{7!3!}"), ("(2n-1)!!", "\\frac{(2n)!}{2^n n!}"), ("120", "C(10,3)"), ("120", "{}_{10}C_3"),
    ("5!", "120"), ("|{-3}|", "3"), ("2pi", "2\\pi"), ("2√3", "2\\sqrt3"), ("x²", "x^2"), ("x_1", "x₁"),
    ("\\infty", "oo"),
    ("\\frac{1}{\\sqrt n}", "\\sqrt{1/n}"), ("\\cosh x", "\\frac{e^x+e^{-x}}{2}"), ("\\arcsin x", "\\sin^{-1} x"),
    ("\\log_2 3", "\\frac{\\ln 3}{\\ln 2}"), ("3", "\\log(8, 2)"), ("\\phi", "\\varphi"), ("2x", "\\frac{d}{dx}x^2"),
    ("\\frac{x^3}{3}+C", "\\frac{1}{3}x^3+C"), ("0", "\\lim_{n\\to\\infty}\\frac1n"), ("n!", "\\prod_{k=1}^n k"),
    ("10 m/s", "10\\,\\mathrm{m\\,s^{-1}}"), ("10 m/s", "10\\frac{m}{s}"), ("5 cm^2", "5 \\text{ square centimeters}"),
    ("100 km/h", "100 kmh"), ("20^\\circ\\text{C}", "20"), ("64", "\\text{\\$}64"), ("€5", "5 euros"),
    ("1 m", "100 cm"), ("1.5 hours", "90 minutes"), ("7", "7^{th}"), ("16", "4^2 = 16"),
    ("12\\text{ or }15", "15, 12"), ("x\\in\\{1,2\\}", "2, 1"), ("\\{2\\}", "2"), ("3, 5, 7", "3, 5, \\text{ and } 7"),
    ("\\emptyset", "\\{\\}"), ("x<1\\text{ or }x>2", "(-\\infty,1)\\cup(2,\\infty)"), ("[1,3]", "[1,2]\\cup[2,3]"),
    ("\\mathbb{R}\\setminus\\{3\\}", "x\\ne 3"), ("\\{x \\mid x > 2\\}", "(2,\\infty)"), ("x>3", "2x>6"),
    ("x>3", "-x<-3"),
    ("[-\\sqrt5,\\sqrt5]", "x^2 \\le 5"), ("n \\ge 3", "\\text{all integers } n \\ge 3"),
    ("(x-2)^2+(y+3)^2=25", "(x-2)^2+(3+y)^2=5^2"), ("PV=nRT", "nRT=PV"), ("\\frac{a}{b}=\\frac{2}{3}", "3a=2b"),
    ("f^{-1}(x)=x/2", "x/2"), ("6x-2", "f'(x)=6x-2"), ("\\text{Area}=12", "12"), ("5", "5 = x"),
    ("\\begin{pmatrix}6&8\\\\10&12\\end{pmatrix}",
     "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix} + \\begin{pmatrix}5&6\\\\7&8\\end{pmatrix}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\langle 1, 2\\rangle"), ("Matrix([[1,2]])", "[[1, 2]]"),
    ("p \\land q", "q \\land p"), ("p\\to q", "p \\rightarrow q"), ("B", "B) 12"), ("(D) Alina", "D"),
    ("\\text{even}", "Even."),
    ("noon", "12:00 PM"), ("June 20, 1990", "20 June 1990"), ("4343_6", "4343_{\\text{six}}"), ("9:1", "9 \\colon 1"),
    ("k\\pi, k\\in\\mathbb{Z}", "n\\pi"), ("-\\frac{\\pi}{2}+k\\pi, k \\in \\mathbb{Z}", "\\frac{\\pi}{2}+k\\pi"),
    ("Rational(3,4)", "0.75"), ("Interval(0, 1)", "[0,1]"), ("15", "\\textcolor{blue}{15}"), ("1/2", "\\large\\frac12"),
    ("The answer is 5", "5"), ("So the answer is: \\[ \\boxed{32349} \\]", "32,\\! 349"),
]  # fmt: skip

DIFFERENT = [
    ("5", "-5"), ("42", "n"), ("x^2", "x^3"), ("0", "10^{-40}"), ("0", "10^{-400}"), ("2^{10}", "210"),
    ("42", "lambda: 42"), ("42", "__import__('os').system('true')"), ("-3^2", "9"), ("1/2", "1/0"), ("2/0", "1/0"),
    ("42", "\\ne 42"), ("42", ">41"), ("42", "42 \\text{ or maybe } 41"), ("x>3", "\\text{True}"), ("a+b", "c"),
    ("\\frac{2^{2005}+1}{3 \\cdot 2^{2006}}", "\\log 3"), ("e^{\\pi\\sqrt{163}}", "262537412640768744"),
    ("1,000", "1,00"), ("12:30", "12:31"), ("0.1", "3:30"), ("0.5", "50"), ("25\\%", "0.25\\%"), ("0.1\\%", "0.1"),
    ("10 mph", "10 km/h"), ("5 cm^2", "5 cm^3"), ("3 \\text{ cm}", "3 \\text{ kg}"), ("xy", "\\sqrt{x^2y^2}"),
    ("\\overrightarrow{AB}", "\\overrightarrow{BA}"), ("ABC", "ACB"), ("f(y)=y", "yes"), ("yes", "yes and no"),
    ("x \\equiv 3 \\pmod 7", "x \\equiv 4 \\pmod 7"), ("a:b=2:3", "b:a=2:3"), ("1:2:3", "1:4:9"), ("2k\\pi", "k\\pi"),
    ("n^2", "m^2"), ("\\{1,2\\}", "\\{1,2,3\\}"), ("(0,1)", "\\{0,1\\}"), ("[0,1)", "[0,1]"), ("|x|<3", "|x|>3"),
    ("\\mathbb{R}", "x \\ne 0"), ("(1,2)", "x=2, y=1"), ("\\frac{a}{b}=\\frac{2}{3}", "2a=3b"), ("3 days", "3 weeks"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"),
    ("\\begin{cases}a+b=1\\\\a-b=2\\end{cases}", "\\begin{cases}a+b=1\\\\a-b=3\\end{cases}"),
    ("B", "D"), ("E", "\\mathrm{E}*2"), ("2 \\mid n", "3 \\mid n"), ("\\lceil 2.1 \\rceil", "2"),
    ("1/3", "\\int_0^1 x^3 dx"),
]  # fmt: skip

ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs" / "rewards" / "math.md").read_text().splitlines()
]
DOCUMENTED = [
    (gold.replace("\\|", "|"), answer.replace("\\|", "|"), want)
    for row in ROWS
    if len(row) == 4
    for cell, want in ((row[2], True), (row[3], False))
    for gold, answer in re.findall(r"`([^`]+)` ~ `([^`]*)`", cell)
]


def test_the_documented_table_is_read():
    assert len(DOCUMENTED) > 140
    assert {want for *_, want in DOCUMENTED} == {True, False}


@pytest.mark.parametrize(("gold", "answer", "want"), DOCUMENTED)
def test_documented_examples(gold, answer, want):
    assert verify(gold, answer) is want
    assert verify(gold, f"<think>\\boxed{{0}}</think> So it is $\\boxed{{{answer}}}$.") is want


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


SYMMETRIC = st.sampled_from([answer for answer in (*SAME, *DIFFERENT) if not re.search(r"\.|answer", "".join(answer))])


@settings(deadline=None, max_examples=150)
@given(pair=SYMMETRIC, other=SYMMETRIC)
def test_symmetric_but_for_rounded_golds_and_percent(pair, other):
    for gold, answer in (pair, (pair[0], other[1])):
        if not {"%", "_", ":"} & set(gold + answer):
            assert verify(gold, f"\\boxed{{{answer}}}") == verify(answer, f"\\boxed{{{gold}}}")


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
    negatives = sum(count for kind, count in wrong.items() if kind.startswith("FN"))
    assert right.total() / total.total() >= 0.99
    assert negatives <= 0.01 * total.total()
    assert not [kind for kind in wrong if kind.startswith("FP")]
