"""Exact rational values of expression trees; sizes and steps are bounded, so no tree can make this slow."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from fractions import Fraction

from rewards.math.trees import Tree

MOST_BITS = 50_000  # of an exact number; 2^2005 and 2006! fit
LARGEST_FACTORIAL = 3000
MOST_TERMS = 400  # of a finite sum or product
MOST_STEPS = 20_000  # nodes visited in one evaluation, sums included
BINDING = ("sum", "prod", "int", "lim", "diff")
FLOORS, CEILINGS = {"floor", "lfloor"}, {"ceil", "ceiling", "lceil"}


class Inexact(Exception):
    """The value is not rational, or not by these rules."""


class Undefined(Exception):
    """The value does not exist at this point, or is too large to compute."""


class Exact:
    """Evaluates trees at one point of rational coordinates."""

    def __init__(self, point: Mapping[str, Fraction]) -> None:
        self.point = dict(point)
        self.steps = 0

    def value(self, tree: Tree) -> Fraction:
        """The rational value.

        Raises:
            Inexact, Undefined: see there.
        """
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Undefined
        kind = tree[0]
        if kind == "num":
            number: Fraction = tree[1]
            return number
        if kind == "var":
            return self.point[tree[1]]
        if kind == "neg":
            return -self.value(tree[1])
        if kind == "const":
            raise Inexact
        if kind == "call":
            return self.call(tree)
        if kind in BINDING:
            return self.series(tree)
        a, b = self.value(tree[1]), self.value(tree[2])
        if kind == "add":
            return bounded(a + b)
        if kind == "mul":
            return bounded(a * b)
        if kind == "div":
            if b == 0:
                raise Undefined
            return bounded(a / b)
        return power(a, b)

    def series(self, tree: Tree) -> Fraction:
        """A finite sum or product, term by term."""
        if tree[0] not in ("sum", "prod"):
            raise Inexact
        total = Fraction(tree[0] == "prod")
        name = tree[2][1]
        for k in terms(self.value(tree[3]), self.value(tree[4])):
            self.point[name] = Fraction(k)
            term = self.value(tree[1])
            total = bounded(total + term if tree[0] == "sum" else total * term)
        return total

    def call(self, tree: Tree) -> Fraction:
        name, arguments = tree[1], [self.value(child) for child in tree[2:]]
        if name.startswith("@"):
            return unknown(name, *arguments)
        if name == "abs":
            return abs(arguments[0])
        if name in ("sgn", "sign"):
            return Fraction((arguments[0] > 0) - (arguments[0] < 0))
        if name in FLOORS:
            return Fraction(math.floor(arguments[0]))
        if name in CEILINGS:
            return Fraction(math.ceil(arguments[0]))
        if name in ("max", "min"):
            return max(arguments) if name == "max" else min(arguments)
        if name in ("factorial", "factorial2", "binom"):
            return combinatorial(name, arguments)
        if name in ("gcd", "lcm"):
            if any(a.denominator != 1 for a in arguments):
                raise Undefined
            numbers = [int(a) for a in arguments]
            return Fraction(math.gcd(*numbers) if name == "gcd" else math.lcm(*numbers))
        if name in ("sqrt", "root"):
            return rational_root(arguments[0], arguments[1] if name == "root" else Fraction(2))
        raise Inexact


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """base ** exponent for an integer exponent; a small rational one may still give a rational."""
    if exponent.denominator != 1:
        if abs(exponent.numerator) > 64:
            raise Inexact
        base, exponent = rational_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator)
    if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) > MOST_BITS:
        if base in (1, -1):
            return base if exponent % 2 else Fraction(1)
        raise Inexact
    if base == 0 and exponent <= 0:
        raise Undefined
    return Fraction(base ** int(exponent))


def rational_root(number: Fraction, index: Fraction) -> Fraction:
    """The root of a non-negative rational where it is rational."""
    if number < 0 or index.denominator != 1 or not 2 <= index <= 16:
        raise Inexact
    roots = [_integer_root(part, int(index)) for part in (number.numerator, number.denominator)]
    return Fraction(*roots)


def _integer_root(number: int, index: int) -> int:
    if number.bit_length() > 2000:
        raise Inexact
    root = math.isqrt(number) if index == 2 else round(number ** (1 / index)) if number.bit_length() < 1000 else 0
    if root**index != number:
        raise Inexact
    return root


def combinatorial(name: str, arguments: list[Fraction]) -> Fraction:
    """n!, n!! or n over k for small natural numbers."""
    if any(a.denominator != 1 or a < 0 or a > LARGEST_FACTORIAL for a in arguments):
        raise Undefined
    numbers = [int(a) for a in arguments]
    if name == "factorial2":
        return Fraction(math.prod(range(numbers[0], 0, -2)))
    return Fraction(math.factorial(numbers[0]) if name == "factorial" else math.comb(numbers[0], numbers[1]))


def terms(low: Fraction, high: Fraction) -> range:
    """The indices of a finite sum. Raises Undefined where there are too many or the bounds are no integers."""
    if low.denominator != 1 or high.denominator != 1 or high - low > MOST_TERMS:
        raise Undefined
    return range(int(low), int(high) + 1)


def unknown(name: str, *arguments: object) -> Fraction:
    """The value of a function that is only a letter, `F_{n-1}`: any fixed number for each name and arguments."""
    return Fraction(random.Random(f"{name}{arguments}").randrange(200, 5000), 1009)


def bounded(number: Fraction) -> Fraction:
    """The number itself. Raises Undefined where it is too long."""
    if number.numerator.bit_length() + number.denominator.bit_length() > 2 * MOST_BITS:
        raise Undefined
    return number
