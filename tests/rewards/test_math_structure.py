"""Answers with a shape: lists beside intervals, names and values, chains, families, vectors, marked golds."""

import time

import pytest

from rewards.math import extract, verify
from rewards.math.extract import marked
from rewards.math.structure import strip_outer

ASSIGNMENTS_SAME = [
    ("(2,3)", "2,3"), ("(3,-4)", "3,-4"), ("[1,2,3]", "1,2,3"), ("(2,3)", "x=2, y=3"), ("x=2,y=3", "(2,3)"),
    ("(x,y)=(2,3)", "x=2, y=3"), ("(x,y)=(2,3)", "y=3, x=2"), ("(x,y)=(2,3)", r"x=2\text{ and }y=3"),
    ("(x,y)=(2,3)", r"\begin{cases}x=2\\y=3\end{cases}"), ("(a,b,c)=(1,2,3)", "a=1,b=2,c=3"),
    ("a=3,b=4", "(a,b)=(3,4)"), ("a=3,b=4", "(b,a)=(4,3)"), ("(x,y)=(2,3)", "2,3"),
    (r"(r,\theta)=(2,\pi/3)", r"(2,\pi/3)"), (r"(r,\theta)=(2,\pi/3)", r"r=2,\theta=\frac{\pi}{3}"),
    ("(x_1,x_2)=(2,3)", "(2,3)"), ("(x_1,x_2)=(2,3)", "x_1=2,x_2=3"), (r"(\alpha,\beta)=(2,3)", "(2,3)"),
    (r"(\alpha,\beta)=(2,3)", r"\alpha=2, \beta=3"), ("(AB, CD)=(2,3)", "(2,3)"), ("2:3", "AB:BC=2:3"),
    ("a=b=c", "a=c=b"), ("x=y=z=2", "(2,2,2)"), ("x=y=z=2", "x=2,y=2,z=2"), ("x=y=z=2", "(x,y,z)=(2,2,2)"),
    ("x=3, y=3", "x=y=3"), ("(x,y,z) = (1,1,1)", "x=y=z=1"), ("12", "A=lw=12"), ("12", r"A=3\cdot4=12"),
    (r"x=1\text{ or }x=2", r"x = 1 \lor x = 2"), (r"x=1\text{ or }x=2", "x_1=1, x_2=2"),
    (r"x=1\text{ or }x=2", "x_1=2, x_2=1"), (r"p \lor q", r"q \lor p"), ("AB=4,CD=5", "4, 5"),
    ("(2,3),(3,2)", r"(x,y)=(2,3)\text{ or }(3,2)"), ("f(1)=2, f(2)=3", "f(2)=3, f(1)=2"),
    (r"\{1,2\}", r"1\text{ or }2"),
]  # fmt: skip
ASSIGNMENTS_DIFFERENT = [
    ("-2,2", "(-2,2)"), ("-2,2", "[-2,2]"), ("-2,2", r"x\in[-2,2]"), (r"x=-2\text{ or }x=2", "(-2,2)"),
    ("1, 5", r"x\in[1,5]"), (r"x=1\text{ or }x=2", "[1,2]"), ("x=1,x=2", "(1,2)"), ("(1,2)", r"x=1\text{ or }x=2"),
    ("[1,5]", "1,5"), (r"x\in[1,5]", "1,5"), ("x=1,5", "(1,5)"), ("x=2,y=3", "(3,2)"), ("(x,y)=(2,3)", "y=2, x=3"),
    ("(x,y)=(2,3)", r"x=2\text{ or }y=3"), ("(x,y)=(2,3)", r"\begin{cases}x=2\\y=4\end{cases}"),
    ("(a,b,c)=(1,2,3)", "a=1,b=2"), ("(a,b,c)=(1,2,3)", "a=1,b=3,c=2"), ("a=3,b=4", "(a,b)=(4,3)"),
    ("(x,y)=(2,3)", "3,2"), (r"(r,\theta)=(2,\pi/3)", r"(\pi/3,2)"), ("(x_1,x_2)=(2,3)", "x_1=3,x_2=2"),
    ("2:3", "AB:BC=3:2"), ("AB:BC=2:3", "BC:AB=2:3"), ("x=y=z=2", "x=y=2"), ("x=y=z=2", "x=2"), ("x=2", "x=y=z=2"),
    ("0", "x=y=z=0"), ("x=y=z=0", "0"), ("a=b=c", "c"), ("a=b=c", "a=b=d"), ("a=b=c", "a=b"), ("x=y=z=2", "(2,2)"),
    ("x=y=z=2", "(2,2,3)"), ("x=y=z=2", "x=2,y=2,z=3"), (r"x=1\text{ or }x=2", "x_1=1, x_2=3"),
    (r"x=1\text{ or }x=2", "y_1=1, y_2=2"), (r"x=1\text{ or }x=2", r"x=1 \lor x = 3"), (r"p \lor q", "p, q"),
    ("(x,y)=(2,3)", "(2,3,4)"), ("x=2,y=3", r"2\text{ or }3"), ("x=2,y=3", "3,2"), ("(x,y)=(1,2)", "(a,b)=(1,2)"),
    ("(x,y)=(1,2)", "a=1,b=2"), ("2", "x=y=2"), ("x=y=0", "x=y"), ("f(1)=2, f(2)=3", "f(1)=3, f(2)=2"),
]  # fmt: skip

PRODUCTS_SAME = [
    (r"-\frac{5}{2}\pi", r"-2\frac12\pi"), (r"-1\frac12\sqrt2", r"-\frac32\sqrt2"),
    (r"-2\frac13", r"-\left(2\frac13\right)"), (r"x-2\frac12", r"x-\frac52"), ("-2x", r"-x\cdot2"), ("9", "(-3)^2"),
    ("-2^2", "-4"), (r"2^{10}\cdot 3^5", "2^{10}3^{5}"), (r"2^3\cdot5^2", "2^3 5^2"), (r"2\cdot3^n", "3^{n}2"),
    ("2^{53}", "2^{53}"),
]  # fmt: skip
PRODUCTS_DIFFERENT = [
    (r"-2\frac{1}{3}", r"-2\cdot\frac{1}{3}"), (r"-2\frac13\pi", r"-\frac{2\pi}{3}"),
    (r"-1\frac12\sqrt2", r"-\frac12\sqrt2"), ("-2^2", "4"), (r"2^3\cdot5^2", "2^35^2"), (r"2^3\cdot5^2", "2^{3}5^3"),
    (r"2\cdot3^n", "3^{n2}"), (r"2^5\cdot3", "2^53"), ("8", "{4}2"), ("3", r"\frac{1}{2}6"),
]  # fmt: skip

FAMILIES_SAME = [
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{4}+\pi n, n\in\mathbb{Z}"),
    (r"x=k\pi, k\in\mathbb{Z}", r"x=\pi n, n \in \mathbb{Z}"),
    (r"x=\pi n, n \in \mathbb{Z}", r"k\pi, k\in\mathbb{Z}"),
    (r"x=\pm\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}", r"x=\pm\frac{\pi}{3}+2\pi n, n\in\mathbb{Z}"),
    (r"x=\pm\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}", r"\pm\frac{\pi}{3}+2k\pi"),
    (r"x=\pm\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}", r"x=2k\pi\pm\frac{\pi}{3}"),
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"x=k\pi+\frac{\pi}{4}\ (k\in Z)"),
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{4}+k\pi\text{ for integer }k"),
    (r"x=k\pi, k\in\mathbb{Z}", r"k\pi \text{ for all integers } k"),
    (r"x=k\pi, k\in\mathbb{Z}", r"k\pi \text{ where } k \text{ is an integer}"), (r"n=4k+1, k\in\mathbb{N}", "4k+1"),
    (r"n=4k+1, k\in\mathbb{N}", "n=4m+1"), (r"n=4k+1, k\in\mathbb{Z}", r"n=4k+5, k\in\mathbb{Z}"),
    (r"x\equiv2\pmod5", "x=5k+2"), (r"x\equiv2\pmod5", r"x = 5k+2, k\in\mathbb{Z}"), (r"x\equiv2\pmod5", "x = 5n-3"),
    (r"3k+1, k\in\mathbb{N}", r"3n+1\text{ where }n\text{ is a natural number}"),
    (r"3k+1, k\in\mathbb{Z}", r"3n+1\text{ where }n\text{ is any integer}"),
    (r"(x, y) = (k, 2k), k\in\mathbb{Z}", r"(n, 2n), n\in\mathbb{Z}"), (r"(k, 2k), k\in\mathbb{Z}", "(k, 2k)"),
    (r"x=2k\pi\text{ or }x=\frac{\pi}{2}+2k\pi, k\in\mathbb{Z}", r"x=2n\pi, x=\frac{\pi}{2}+2n\pi, n\in\mathbb{Z}"),
    (r"k\pi, k\in\mathbb{Z}", r"(n\pi, n\in\mathbb{Z})"),
]  # fmt: skip
FAMILIES_DIFFERENT = [
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{4}+2\pi n, n\in\mathbb{Z}"),
    (r"x=k\pi, k\in\mathbb{Z}", r"x=\pi n^2, n \in \mathbb{Z}"),
    (r"x=\pm\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}", r"x=2k\pi+\frac{\pi}{3}"),
    (r"x=\pm\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}", r"x=k\pi\pm\frac{\pi}{3}"),
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{3}+k\pi\text{ for integer }k"),
    (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{4}+k\pi\text{ for positive integer }k"),
    (r"n=4k+1, k\in\mathbb{N}", "n=4m+5"), (r"n=4k+1, k\in\mathbb{N}", r"n=4k+1, k\in\mathbb{Z}"),
    (r"n=4k+1, k\in\mathbb{N}", "n=4k+3"), (r"x\equiv2\pmod5", "x=5k+3"), (r"x\equiv2\pmod5", "x=10k+2"),
    (r"x\equiv2\pmod5", r"x=5k+2, k\in\mathbb{N}"), (r"x\equiv2\pmod5", "5x+2"),
    (r"3k+1, k\in\mathbb{Z}", r"3n+1\text{ where }n\text{ is a number}"),
    (r"(k, 2k), k\in\mathbb{Z}", r"(2n, n), n\in\mathbb{Z}"),
    (r"(k, 2k), k\in\mathbb{Z}", r"(k, 2n), n\in\mathbb{Z}"),
    (r"(k, 2k), k\in\mathbb{Z}", r"(k, 2k), k\in\mathbb{N}"),
    (r"x=k\pi, y=2k\pi, k\in\mathbb{Z}", r"x=2k\pi, y=k\pi, k\in\mathbb{Z}"),
    (r"x=2k\pi\text{ or }x=\frac{\pi}{2}+2k\pi, k\in\mathbb{Z}", r"x=2n\pi, n\in\mathbb{Z}"),
]  # fmt: skip

CHAINS_SAME = [
    ("72", r"48 + 24 = 72\text{ clips}"), ("72", r"8\times9=72\text{ ways}"), ("72", r"\binom92\cdot2=36\cdot2=72"),
    (r"\frac12", r"\frac{10}{20}=\frac24=\frac12"), (r"\frac12", r"\frac12=0.5=50\%"),
    (r"\frac12", r"\frac12\text{ or }0.5"), (r"72\text{ cm}", r"6\cdot12=72\text{ cm}"), ("16", "4^2=16"),
    ("72", r"6\cdot12=72 cm"),
]  # fmt: skip
CHAINS_DIFFERENT = [
    ("72", r"48 + 25 = 72\text{ clips}"), ("73", "48 + 25 = 72"), ("72", r"8\times9=73\text{ ways}"),
    ("72", r"\binom92\cdot2=35\cdot2=72"), ("72", "71=72"), ("72", "71=71+1=72"), (r"\frac12", r"\frac12=0.5=60\%"),
    (r"\frac12", r"\frac12\text{ or }0.6"), (r"\frac12", r"\frac12\text{ or }\frac12"),
    (r"\frac13", r"\frac13=0.333"), (r"72\text{ cm}", r"6\cdot12=72\text{ m}"), (r"\{1\}", r"1\text{ or }2"),
    ("5", "5=x+1"), ("72", r"6\cdot12=72x"), ("72", r"6\cdot12=72 cm=72"),
]  # fmt: skip

VECTORS_SAME = [
    (r"\begin{pmatrix}2\\-1\\3\end{pmatrix}", r"2\mathbf{i}-\mathbf{j}+3\mathbf{k}"),
    (r"\begin{pmatrix}2\\-1\\3\end{pmatrix}", r"2\hat{i}-\hat{j}+3\hat{k}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\mathbf{i}+2\mathbf{j}"),
    (r"2\mathbf{i}-\mathbf{j}+3\mathbf{k}", r"\begin{pmatrix}2\\-1\\3\end{pmatrix}"),
    (r"\frac13\begin{pmatrix}1\\2\\2\end{pmatrix}", r"(\frac13,\frac23,\frac23)"),
    (r"(\frac13,\frac23,\frac23)", r"\frac13\begin{pmatrix}1\\2\\2\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)^T"), (r"\begin{pmatrix}1\\2\end{pmatrix}", r"(1,2)^{\mathrm{T}}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}^T"),
    (r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^\top"), ("(1,2)", "(1,2)^T"),
]  # fmt: skip
VECTORS_DIFFERENT = [
    (r"\begin{pmatrix}2\\-1\\3\end{pmatrix}", r"2\mathbf{i}+\mathbf{j}+3\mathbf{k}"),
    (r"\begin{pmatrix}2\\-1\end{pmatrix}", r"2\mathbf{i}-\mathbf{j}+3\mathbf{k}"),
    (r"\frac13\begin{pmatrix}1\\2\\2\end{pmatrix}", r"(\frac13,\frac23,\frac13)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)^T"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}^T"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "1+2"),
]  # fmt: skip

SMALL_SAME = [
    (r"\frac13", r"\frac13\approx0.33"), (r"\sqrt{17}", r"\sqrt{17}\approx4.1"),
    (r"\frac{1}{30}", r"\frac{1}{30}\approx0.03"), (r"\frac{1}{2}", r"x=\frac{1}{2}\approx50\%"),
    ("42", r"x=42\approx42.1"), ("42", r"x\approx42"), (r"42\text{ cm}", r"42\text{ cm}\approx42.3\text{ cm}"),
    ("f(x) = 2x for all real x", "f(x)=2x"), ("f(x) = 2x for all real x", "2x"),
    ("f(x) = 2x for all real x", r"f(x)=2x, x\in\mathbb{R}"),
    ("f(x) = 2x for all real x", r"f(x)=2x\quad\forall x\in\mathbb{R}"), ("f(x)=2x", r"f(x)=2x, x\in\mathbb{R}"),
    (r"42\text{ cm}", r"42\text{ cm}\approx16.5\text{ in}"), ("1/3", r"x=1/3\approx1.3"),
]  # fmt: skip
SMALL_DIFFERENT = [
    ("42", r"42\approx43"), (r"\frac{1}{3}", r"\frac{1}{3}\approx0.43"), ("f(x) = 2x for all real x", "3x"),
    ("f(x)=2x", r"f(x)=3x, x\in\mathbb{R}"), ("f(x)=2x", "f(x)=2x, x=3"), (r"\text{Joe}", r"\text{Joe for all}"),
    (r"42\text{ cm}", r"42\text{ cm}\approx44\text{ cm}"),
]  # fmt: skip

SAME = [*ASSIGNMENTS_SAME, *PRODUCTS_SAME, *FAMILIES_SAME, *CHAINS_SAME, *VECTORS_SAME, *SMALL_SAME]
DIFFERENT = [
    *ASSIGNMENTS_DIFFERENT,
    *PRODUCTS_DIFFERENT,
    *FAMILIES_DIFFERENT,
    *CHAINS_DIFFERENT,
    *VECTORS_DIFFERENT,
    *SMALL_DIFFERENT,
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold, answer):
    assert verify(gold, f"So it is $\\boxed{{{answer}}}$.") is True
    if "text" not in answer:  # else a sentence, and what it concludes
        assert verify(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold, answer):
    assert verify(gold, f"So it is $\\boxed{{{answer}}}$.") is False
    assert verify(gold, answer) is False


WORKED = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72"


def test_a_worked_gold_is_what_it_marks():
    assert verify(WORKED, "\\boxed{72}") is True
    assert verify(WORKED, "\\boxed{24}") is False
    assert verify("#### 1,234", "1234") is True
    assert verify("#### Solution\nIt is \\boxed{5}", "\\boxed{5}") is True


def test_answers_marked_in_other_ways():
    assert extract("<think>a</think><ANSWER>42</ANSWER>") == "42"
    assert extract("<think>a</think><Answer>42") is None
    assert marked("<ANSWER>42</ANSWER>")
    for text in ("答案：15", "3 + 12。答案是15。", "所以答案为 15", "**答案:** 15"):
        assert verify("15", text) is True
        assert verify("12", text) is False
    assert verify("15", "答案不是15") is False
    assert verify("15", "答案是不是15") is False


def test_nested_braces_are_peeled_in_linear_time():
    times = []
    for depth in (500, 5000):
        text = "(" * depth + "7" + ")" * depth
        started = time.process_time()
        assert strip_outer(text) == "7"
        times.append(time.process_time() - started)
    assert times[1] < 0.2
    assert strip_outer("((1,2))") == "(1,2)"
    assert strip_outer("(1)(2)") == "(1)(2)"
    assert strip_outer("{ ( x+1 ) }") == "x+1"
