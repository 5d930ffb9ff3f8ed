"""The math family: multi-digit and chained arithmetic, small equations, fractions."""

from __future__ import annotations

import random
from fractions import Fraction

from pipelines.problems.items import Item


def _near(rng: random.Random, value: int) -> int:
    """A plausible wrong or (one time in five) right guess at a number: off by a little, or a digit slipped."""
    if rng.random() < 0.2:
        return value
    return max(0, value + rng.choice([-20, -11, -10, -9, -3, -2, -1, 1, 2, 3, 9, 10, 11, 20]))


def _item(kind: str, prompt: str, work: str, answer: str, guess: str) -> Item:
    return Item(family="math", kind=kind, prompt=prompt, work=work, answer=answer, guess=guess)


def add(rng: random.Random) -> Item:
    """Two numbers of two or three digits, added column by column with the carry spelled out."""
    digits = rng.choice([2, 3])
    a, b = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
    steps, carry = [], 0
    for place in range(digits):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        steps.append(f"{x}+{y}+{carry}={total}" if carry else f"{x}+{y}={total}")
        carry = total // 10
    return _item("add", f"Compute {a}+{b}.", ", ".join(steps), str(a + b), str(_near(rng, a + b)))


def chain(rng: random.Random) -> Item:
    """Three to five small numbers, left to right after one optional product; every step stays in 0..99."""
    value = rng.randrange(2, 10)
    text, steps = str(value), []
    if rng.random() < 0.5:
        factor = rng.randrange(2, 10)
        steps.append(f"{value}*{factor}={value * factor}")
        text += f"*{factor}"
        value *= factor
    for _ in range(rng.randrange(2, 4)):
        n = rng.randrange(1, 10)
        sign = "-" if value >= n and (value + n > 99 or rng.random() < 0.5) else "+"
        after = value + n if sign == "+" else value - n
        steps.append(f"{value}{sign}{n}={after}")
        text += f"{sign}{n}"
        value = after
    return _item("chain", f"Compute {text}.", ", ".join(steps), str(value), str(_near(rng, value)))


def equation(rng: random.Random) -> Item:
    """One linear equation in x with a whole solution."""
    a, x, b = rng.randrange(2, 10), rng.randrange(1, 13), rng.randrange(1, 31)
    product = a * x
    if rng.random() < 0.5 or product <= b:
        left, work = f"{a}x+{b}={product + b}", f"{product + b}-{b}={product}, {product}/{a}={x}"
    else:
        left, work = f"{a}x-{b}={product - b}", f"{product - b}+{b}={product}, {product}/{a}={x}"
    return _item("equation", f"Solve {left} for x.", work, str(x), str(_near(rng, x)))


def fraction(rng: random.Random) -> Item:
    """The sum or difference of two proper fractions over the product of the denominators."""
    b, d = rng.randrange(2, 11), rng.randrange(2, 11)
    a, c = rng.randrange(1, b), rng.randrange(1, d)
    sign = "-" if Fraction(a, b) > Fraction(c, d) and rng.random() < 0.5 else "+"
    left, right, bottom = a * d, c * b, b * d
    top = left + right if sign == "+" else left - right
    work = f"{a}*{d}={left}, {c}*{b}={right}, {left}{sign}{right}={top}, {b}*{d}={bottom}"
    guess = f"{_near(rng, top)}/{_near(rng, bottom)}" if rng.random() < 0.5 else f"{a + c}/{b + d}"
    return _item("fraction", f"Compute {a}/{b}{sign}{c}/{d}.", work, f"{top}/{bottom}", guess)


MATH = [add, chain, equation, fraction]
