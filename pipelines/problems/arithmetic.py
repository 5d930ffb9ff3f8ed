"""The math family: multi-digit and chained arithmetic, small equations, fractions."""

from __future__ import annotations

import random

from pipelines.problems.items import Item


def _near(rng: random.Random, value: int) -> int:
    """A plausible wrong or (one time in five) right guess at a number: off by a little, or a digit slipped."""
    if rng.random() < 0.2:
        return value
    return max(0, value + rng.choice([-20, -11, -10, -9, -3, -2, -1, 1, 2, 3, 9, 10, 11, 20]))


def _item(kind: str, prompt: str, work: str, answer: str, guess: str) -> Item:
    return Item(family="math", kind=kind, prompt=prompt, work=work, answer=answer, guess=guess)


def add(rng: random.Random) -> Item:
    """Two numbers of two digits: tens, units, then both together."""
    a, b = rng.randrange(10, 100), rng.randrange(10, 100)
    tens, units = (a - a % 10, b - b % 10), (a % 10, b % 10)
    work = f"{tens[0]}+{tens[1]}={sum(tens)}, {units[0]}+{units[1]}={sum(units)}, {sum(tens)}+{sum(units)}={a + b}"
    return _item("add", f"Compute {a}+{b}.", work, str(a + b), str(_near(rng, a + b)))


def chain(rng: random.Random) -> Item:
    """Three or four different small numbers, left to right after one optional product; every step stays in 0..99."""
    value, *rest = rng.sample(range(2, 10), rng.randrange(3, 5))
    text, steps = str(value), []
    if rng.random() < 0.5:
        factor = rest.pop()
        steps.append(f"{value}*{factor}={value * factor}")
        text += f"*{factor}"
        value *= factor
    for n in rest:
        sign = "-" if value >= n and rng.random() < 0.5 else "+"
        after = value + n if sign == "+" else value - n
        steps.append(f"{value}{sign}{n}={after}")
        text += f"{sign}{n}"
        value = after
    return _item("chain", f"Compute {text}.", ", ".join(steps), str(value), str(_near(rng, value)))


def equation(rng: random.Random) -> Item:
    """One linear equation in x with a whole solution, in one of three forms."""
    a, x, b = rng.randrange(2, 10), rng.randrange(2, 13), rng.randrange(1, 10)
    product = a * x
    form = rng.randrange(3 if product > b else 2)
    if form == 2:
        left, work = f"{a}x-{b}={product - b}", f"{product - b}+{b}={product}, {product}/{a}={x}"
    else:
        left = f"{b}+{a}x={product + b}" if form else f"{a}x+{b}={product + b}"
        work = f"{product + b}-{b}={product}, {product}/{a}={x}"
    return _item("equation", f"Solve {left} for x.", work, str(x), str(_near(rng, x)))


def fraction(rng: random.Random) -> Item:
    """A sum or difference of proper fractions, the second denominator a multiple of the first."""
    b, k = rng.randrange(2, 10), rng.randrange(2, 6)
    a, c = rng.randrange(1, b), rng.randrange(1, min(10, b * k))
    sign = "-" if a * k >= c and rng.random() < 0.5 else "+"
    top = a * k + c if sign == "+" else a * k - c
    work = f"{b * k}/{b}={k}, {a}*{k}={a * k}, {a * k}{sign}{c}={top}"
    guess = f"{a + c}/{b + b * k}" if rng.random() < 0.5 else f"{_near(rng, top)}/{b * k}"
    return _item("fraction", f"Compute {a}/{b}{sign}{c}/{b * k}.", work, f"{top}/{b * k}", guess)


MATH = [add, chain, equation, fraction]
