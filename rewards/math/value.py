"""Do two expressions have the same value? Exact rational arithmetic first, 60-digit probing for the rest.

Rational functions are compared exactly at random rational points (Schwartz-Zippel: two different ones agree on a
30-bit point with probability below degree / 2^30). Everything else is evaluated to 60 digits at several points and
must agree to 40. Sizes are checked before each operation, so no input can make this slow.
"""

from __future__ import annotations

import importlib
import math
import random
import threading
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewards.math.parse import Tree, Unsupported

MOST_BITS = 50_000  # of an exact number; 2^2005 and 2006! fit
MOST_MAGNITUDE = 200_000  # bits left or right of the binary point of a 60-digit number
MOST_ANGLE = 500  # bits of the argument of a periodic function
LARGEST_FACTORIAL = 3000
DIGITS = 60
AGREE = 40
POINTS = 6

_LOCAL = threading.local()


class Inexact(Exception):
    """The value is not rational."""


class Undefined(Exception):
    """The value does not exist at this point, or is too large to compute."""


def variables(tree: Tree) -> set[str]:
    """Names of all variables of a tree."""
    if tree[0] == "var":
        return {tree[1]}
    return set().union(*(variables(child) for child in tree[1:] if isinstance(child, tuple)))


def _has_i(tree: Tree) -> bool:
    return tree == ("const", "i") or any(_has_i(child) for child in tree[1:] if isinstance(child, tuple))


def exact(tree: Tree, point: Mapping[str, Fraction]) -> Fraction:
    """The rational value of a tree.

    Raises:
        Inexact, Undefined: see there.
    """
    kind = tree[0]
    if kind == "num":
        number: Fraction = tree[1]
        return number
    if kind == "var":
        return point[tree[1]]
    if kind == "neg":
        return -exact(tree[1], point)
    if kind == "const":
        raise Inexact
    if kind == "call":
        return _exact_call(tree, point)
    a, b = exact(tree[1], point), exact(tree[2], point)
    if kind == "add":
        return _bounded(a + b)
    if kind == "mul":
        return _bounded(a * b)
    if kind == "div":
        if b == 0:
            raise Undefined
        return _bounded(a / b)
    return _exact_power(a, b)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise Inexact
    if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) > MOST_BITS:
        raise Inexact
    if base == 0 and exponent <= 0:
        raise Undefined
    return base ** int(exponent)


def _exact_call(tree: Tree, point: Mapping[str, Fraction]) -> Fraction:
    name, arguments = tree[1], [exact(child, point) for child in tree[2:]]
    if name == "abs":
        return abs(arguments[0])
    if name == "floor":
        return Fraction(arguments[0].__floor__())
    if name == "ceil":
        return Fraction(arguments[0].__ceil__())
    if name in ("factorial", "binom"):
        return _combinatorial(name, arguments)
    raise Inexact


def _combinatorial(name: str, arguments: list[Fraction]) -> Fraction:
    if any(a.denominator != 1 or a < 0 or a > LARGEST_FACTORIAL for a in arguments):
        raise Undefined
    numbers = [int(a) for a in arguments]
    return Fraction(math.factorial(numbers[0]) if name == "factorial" else math.comb(numbers[0], numbers[1]))


def _bounded(number: Fraction) -> Fraction:
    if number.numerator.bit_length() + number.denominator.bit_length() > 2 * MOST_BITS:
        raise Undefined
    return number


def _context() -> Any:
    context = getattr(_LOCAL, "context", None)
    if context is None:
        context = importlib.import_module("mpmath").MPContext()  # untyped; a context of its own for each thread
        context.dps = DIGITS
        _LOCAL.context = context
    return context


class Approximation:
    """Evaluates a tree at one point to 60 digits; `scale` is the largest term met, for judging cancellation."""

    def __init__(self, point: Mapping[str, Fraction]) -> None:
        self.mp = _context()
        self.point = point
        self.scale: Any = self.mp.mpf(0)

    def value(self, tree: Tree) -> Any:
        """An mpf or mpc. Raises Undefined or Unsupported."""
        mp, kind = self.mp, tree[0]
        if kind == "num":
            return mp.mpf(tree[1].numerator) / tree[1].denominator
        if kind == "var":
            number = self.point[tree[1]]
            return mp.mpf(number.numerator) / number.denominator
        if kind == "const":
            if tree[1] == "inf":
                raise Undefined
            return {"pi": mp.pi, "e": mp.e, "i": mp.j}[tree[1]] * 1
        if kind == "neg":
            return -self.value(tree[1])
        if kind == "call":
            return self.checked(self.call(tree[1], [self.value(child) for child in tree[2:]]))
        a, b = self.value(tree[1]), self.value(tree[2])
        if kind == "add":
            self.scale = max(self.scale, abs(a), abs(b))
            return self.checked(a + b)
        if kind == "mul":
            return self.checked(a * b)
        if kind == "div":
            if b == 0:
                raise Undefined
            return self.checked(a / b)
        return self.checked(self.power(a, b))

    def checked(self, value: Any) -> Any:
        if not self.mp.isfinite(value) or (value != 0 and abs(self.mp.mag(value)) > MOST_MAGNITUDE):
            raise Undefined
        return value

    def power(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            if exponent == 0 or self.mp.re(exponent) <= 0:
                raise Undefined
            return base
        if abs(exponent) * max(1, abs(self.mp.mag(base))) > MOST_MAGNITUDE:
            raise Undefined
        return base**exponent

    def call(self, name: str, arguments: list[Any]) -> Any:
        mp, x = self.mp, arguments[0]
        limit = MOST_MAGNITUDE if name in ("sqrt", "root", "abs", "ln", "log", "lg") else MOST_ANGLE
        if x != 0 and abs(mp.mag(x)) > limit:
            raise Undefined
        if name == "log":
            return mp.log(x) / mp.log(arguments[1]) if len(arguments) == 2 else mp.log(x)
        if name == "root":
            index = arguments[1]
            if index == 0:
                raise Undefined
            real_odd = mp.im(x) == 0 and mp.re(x) < 0 and index == mp.floor(mp.re(index)) and int(mp.re(index)) % 2
            return -((-x) ** (1 / index)) if real_odd else self.power(x, 1 / index)
        if name in ("factorial", "binom"):
            exact_arguments = [Fraction(int(mp.nint(mp.re(a)))) for a in arguments]
            if any(abs(a - int(e)) > 1e-30 for a, e in zip(arguments, exact_arguments, strict=True)):
                raise Undefined
            return mp.mpf(int(_combinatorial(name, exact_arguments)))
        if name == "cbrt":
            return self.call("root", [x, mp.mpf(3)])
        function = getattr(mp, MPMATH.get(name, ""), None)
        if function is None:
            raise Unsupported(f"function {name}")
        return function(x)


MPMATH = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "coth": "coth", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot",
    "asin": "asin", "acos": "acos", "atan": "atan", "ln": "log", "exp": "exp", "sqrt": "sqrt", "abs": "fabs",
    "lg": "log10", "floor": "floor", "ceil": "ceil", "arcsec": "asec", "arccsc": "acsc", "arsinh": "asinh",
    "arcosh": "acosh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip


@lru_cache(maxsize=256)
def _points(names: tuple[str, ...]) -> tuple[tuple[str, Mapping[str, Fraction]], ...]:
    """Labelled points: large rationals for exact work, positive and negative reals around 1 for probing."""
    draw = random.Random(" ".join(names) + " r1")
    big = [{name: Fraction(draw.getrandbits(30) + 2) for name in names} for _ in range(2)]
    positive = [{name: Fraction(draw.randrange(200, 5000), 1009) for name in names} for _ in range(POINTS)]
    negative = [{name: -Fraction(draw.randrange(200, 2900), 1013) for name in names} for _ in range(2)]
    labelled = [("exact", p) for p in big] + [("positive", p) for p in positive] + [("negative", p) for p in negative]
    return tuple(labelled)


def same_value(a: Tree, b: Tree) -> bool:
    """Whether two expressions are equal wherever both are defined (positive reals decide where roots branch)."""
    names = tuple(sorted(variables(a) | variables(b)))
    try:
        return all(_exact_at(a, b, point) for label, point in _points(names) if label == "exact")
    except (Inexact, Undefined):
        pass
    agreed = 0
    real = bool(names) and not (_has_i(a) or _has_i(b))  # where a root leaves the reals its branch is a convention
    for label, point in _points(names):
        if label == "exact":
            continue
        verdict = _agree(a, b, point, real_only=label == "negative" or real)
        if verdict is False:
            return False
        agreed += verdict is True
        if not names:
            break
    return agreed >= (2 if names else 1)


def _exact_at(a: Tree, b: Tree, point: Mapping[str, Fraction]) -> bool:
    return exact(a, point) == exact(b, point)


def _agree(a: Tree, b: Tree, point: Mapping[str, Fraction], *, real_only: bool) -> bool | None:
    """True or False at one point; None where it cannot be told there."""
    work = Approximation(point)
    mp = work.mp
    try:
        x, y = work.value(a), work.value(b)
        if real_only and (mp.im(x) != 0 or mp.im(y) != 0):
            return None
        gap = abs(x - y)
        small = mp.mpf(10) ** -AGREE
        return bool(gap <= small * max(abs(x), abs(y)) or gap <= small * mp.mpf(10) ** -10 * work.scale)
    except (Undefined, Unsupported, ZeroDivisionError, ValueError, OverflowError, TypeError):
        return None


def proportional(a: Tree, b: Tree, *, positive: bool) -> bool:
    """Whether a = c b for one constant c != 0 (c > 0 if `positive`): the same equation or inequality."""
    names = tuple(sorted(variables(a) | variables(b)))
    if not names:
        return False
    ratios: list[Any] = []
    for label, point in _points(names):
        if label == "negative":
            continue
        ratio = _ratio(a, b, point)
        if ratio is not None:
            ratios.append(ratio)
    if len(ratios) < 3:
        return False
    first = ratios[0]
    limit = abs(first) * _context().mpf(10) ** -AGREE
    return first != 0 and all(abs(r - first) <= limit for r in ratios) and (not positive or _is_positive(first))


def _ratio(a: Tree, b: Tree, point: Mapping[str, Fraction]) -> Any:
    work = Approximation(point)
    try:
        x, y = work.value(a), work.value(b)
        floor = work.scale * work.mp.mpf(10) ** -AGREE
        return None if abs(y) <= floor or abs(x) <= floor else x / y
    except (Undefined, Unsupported, ZeroDivisionError, ValueError, OverflowError, TypeError):
        return None


def _is_positive(value: Any) -> bool:
    mp = _context()
    return bool(mp.im(value) == 0 and mp.re(value) > 0)


def rounds_to(tree: Tree, decimal: Fraction, digits: int) -> bool:
    """Whether a constant, rounded to `digits` decimals, is `decimal`."""
    if variables(tree):
        return False
    work = Approximation({})
    try:
        value = work.value(tree)
        gap = abs(value - work.mp.mpf(decimal.numerator) / decimal.denominator)
        return bool(work.mp.im(value) == 0 and gap <= work.mp.mpf(10) ** -digits / 2)
    except (Undefined, Unsupported, ZeroDivisionError, ValueError, OverflowError, TypeError):
        return False
