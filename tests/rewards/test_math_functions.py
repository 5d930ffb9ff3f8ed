"""Math verification: what only looks equal at whole numbers, or as a product, is not."""

import pytest

from rewards.math import verify


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("f(x)=x", r"f(x)=\lfloor x\rfloor"), ("x", r"\lceil x\rceil"), ("0", r"x-\lfloor x\rfloor"),
        (r"\lfloor x\rfloor+\lfloor y\rfloor", r"\lfloor x+y\rfloor"),
        (r"\Gamma(\frac13)", r"\frac13\Gamma"), (r"\frac{\Gamma(1/4)}{\Gamma(3/4)}", r"\frac13"),
        (r"2\zeta(3)", r"3\zeta(2)"), (r"\frac{f(2)}{f(1)}", "2"),
        (r"(-\infty,1)", r"x<1, x\in\mathbb{Z}"), ("(0,5)", r"0<x<5, x\in\mathbb{Z}"),
        ("C", "C_1"), ("A_5", "A"), ("D_4", "D"),
        (r"\{-1,1\}", r"0,\pm1"), (r"2\Omega", r"2\omega"),
        (r"1.5 \mathrm{~L}", r"2.5"), (r"\arctan 2", r"\operatorname{arcctg} 2"),
    ],
)  # fmt: skip
def test_different(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\lfloor x\rfloor", r"\lfloor x \rfloor"), (r"\lceil x\rceil", r"-\lfloor -x\rfloor"),
        (r"\lfloor n/2\rfloor+\lceil n/2\rceil", "n"), (r"2\Gamma(\frac13)", r"\Gamma(1/3)\cdot 2"),
        (r"\Gamma(1/4)^2", r"\Gamma^2(1/4)"), (r"x f(x)+1", r"1+f(x)x"),
        (r"\sqrt{2g(h+1)}", r"\sqrt{2gh+2g}"),
        (r"1.5 \mathrm{~L}", "1.5"), (r"4\sqrt3 \mathrm{~m}", r"4\sqrt{3}"), (r"200 \mathrm{~g}", "200"),
        (r"\operatorname{arctg} 2", r"\arctan 2"), (r"\operatorname{tg}\alpha", r"\tan\alpha"), ("1011_2", "1011"),
        (r"\{-1,0,1\}", r"0,\pm1"),
    ],
)  # fmt: skip
def test_same(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is True
