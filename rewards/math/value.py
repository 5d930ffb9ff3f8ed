"""Do two expressions have the same value? Exact rational arithmetic first, 60-digit probing, then symbolic work.

Rational functions are compared exactly at random rational points (Schwartz-Zippel: two different ones agree on a
30-bit point with probability below degree / 2^30). Everything else is evaluated to 60 digits at several points and
must agree to 40. What exists at whole numbers only (binomials, finite sums) is compared there. Limits, integrals,
derivatives and infinite sums go to `rewards.math.symbolic`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewards.math import symbolic
from rewards.math.approximate import DIGITS, FAILED, Approximation, context
from rewards.math.exact import CEILINGS, FLOORS, Exact, Inexact, Undefined
from rewards.math.trees import Tree

AGREE = 40
EXTRA = 4  # times the digits, where terms cancel

Point = Mapping[str, Fraction]


@lru_cache(maxsize=4096)
def variables(tree: Tree) -> frozenset[str]:
    """Names of the free variables of a tree."""
    if tree[0] == "var":
        return frozenset() if tree[1].startswith("#") else frozenset((tree[1],))
    return frozenset().union(*(variables(child) for child in tree[1:] if isinstance(child, tuple)))


def _has_i(tree: Tree) -> bool:
    return tree == ("const", "i") or any(_has_i(child) for child in tree[1:] if isinstance(child, tuple))


def _rounds(tree: Tree) -> bool:
    """Whether it rounds a variable itself: at whole numbers alone this cannot be seen."""
    if tree[0] == "call" and tree[1] in FLOORS | CEILINGS:
        return not variables(tree) <= {"n", "m", "k", "l"}
    return any(_rounds(child) for child in tree[1:] if isinstance(child, tuple))


@lru_cache(maxsize=256)
def _points(names: tuple[str, ...]) -> dict[str, tuple[Point, ...]]:
    """Points of five kinds.

    Large integers for exact work (odd and even, positive and negative: `(-1)^n` and `|x|` tell them apart), fractions
    for what rounds, positive reals and reals of both signs, near and far, for probing, small whole numbers for what
    exists at these only.
    """
    draw = random.Random(" ".join(names) + " r1")

    def reals(count: int, low: int, high: int, signs: tuple[int, ...]) -> list[Point]:
        near = range(low, high)
        return [{name: draw.choice(signs) * Fraction(draw.choice(near), 1009) for name in names} for _ in range(count)]

    def large(odd: int, signs: tuple[int, ...]) -> Point:
        return {name: Fraction(draw.choice(signs) * (2 * draw.getrandbits(29) + odd)) for name in names}

    wholes = [draw.sample(range(3, 30), min(len(names), 27)) + [31] * (len(names) - 27) for _ in range(6)]
    signed = reals(2, 200, 2900, (-1,)) + reals(2, 3000, 30_000, (-1,)) + reals(2, 200, 9000, (1, -1))
    return {
        "exact": (large(3, (1,)), large(2, (-1,)), large(3, (1, -1))),
        "fractional": tuple(reals(3, 200, 9000, (1, -1))),
        "positive": tuple(reals(4, 200, 5000, (1,)) + reals(2, 5000, 30_000, (1,))),
        "signed": tuple(signed),
        "whole": tuple(dict(zip(names, map(Fraction, sorted(chosen)), strict=True)) for chosen in wholes),
    }


def same_value(a: Tree, b: Tree) -> bool:
    """Whether two expressions are equal wherever both are defined (positive reals decide where roots branch)."""
    names = tuple(sorted(variables(a) | variables(b)))
    points = _points(names)
    exact = points["exact"] + (points["fractional"] if _rounds(a) or _rounds(b) else ())
    try:
        return all(Exact(point).value(a) == Exact(point).value(b) for point in exact)
    except (Inexact, Undefined):
        pass
    real = bool(names) and not (_has_i(a) or _has_i(b))  # where a root leaves the reals its branch is a convention
    if not names:
        verdict = _agree(a, b, {}, real_only=False)
    else:
        verdict = _all_agree(
            _agree(a, b, point, real_only=real or label == "signed")
            for label in ("positive", "signed")
            for point in points[label]
        )
        if verdict is None:
            verdict = _all_agree(_agree_exactly(a, b, point) for point in points["whole"])
    return symbolic.equal(a, b) is True if verdict is None else verdict


def _all_agree(verdicts: Iterable[bool | None]) -> bool | None:
    """No at the first point that says no, yes where two or more say yes, else undecided."""
    agreed = 0
    for verdict in verdicts:
        if verdict is False:
            return False
        agreed += verdict is True
    return True if agreed >= 2 else None


def _agree_exactly(a: Tree, b: Tree, point: Point) -> bool | None:
    try:
        return Exact(point).value(a) == Exact(point).value(b)
    except Undefined:
        return None
    except Inexact:
        return _agree(a, b, point, real_only=False)


def _agree(a: Tree, b: Tree, point: Point, *, real_only: bool) -> bool | None:
    """True or False at one point; None where it cannot be told there.

    A gap that is small beside the terms but not beside the values is looked at with more digits: rounding noise
    shrinks with them, a difference stays.
    """
    work = Approximation(point)
    mp = work.mp
    try:
        x, y = work.value(a), work.value(b)
        if real_only and (mp.im(x) != 0 or mp.im(y) != 0):
            return None
        gap, small = abs(x - y), mp.mpf(10) ** -AGREE
        if gap <= small * max(abs(x), abs(y)):
            return True
        if gap > small * work.scale:
            return False
        finer = Approximation(point, EXTRA * DIGITS)
        x, y = finer.value(a), finer.value(b)
        closer = abs(x - y)
        return bool(closer <= small * max(abs(x), abs(y)) or closer <= small * gap)
    except FAILED:
        return None


def proportional(a: Tree, b: Tree, *, positive: bool) -> bool:
    """Whether a = c b for one constant c != 0 (c > 0 if `positive`): the same equation or inequality."""
    names = tuple(sorted(variables(a) | variables(b)))
    if not names:
        return False
    points = _points(names)
    ratios = [ratio for point in points["exact"] + points["positive"] if (ratio := _ratio(a, b, point)) is not None]
    if len(ratios) < 3:
        return False
    first = ratios[0]
    limit = abs(first) * context().mpf(10) ** -AGREE
    return first != 0 and all(abs(r - first) <= limit for r in ratios) and (not positive or _is_positive(first))


def same_roots(a: Tree, b: Tree) -> bool:
    """Whether the equations a = 0 and b = 0 have the same solution for a variable that both hold linearly.

    So `a/b = 2/3` is `3a = 2b`, and `y = k/x` is `xy = k`, though their sides differ by a factor.
    """
    names = variables(a)
    if names != variables(b):
        return False
    points = _points(tuple(sorted(names)))["positive"]
    for name in sorted(names):
        roots = [(_linear_root(a, name, point), _linear_root(b, name, point)) for point in points]
        known = [(x, y) for x, y in roots if x is not None and y is not None]
        if len(known) >= 3:
            return all(x == y for x, y in known)
    return False


def _linear_root(tree: Tree, name: str, point: Point) -> Fraction | None:
    line = linear(tree, name, point)
    return None if line is None else line[0]


def linear(tree: Tree, name: str, point: Point) -> tuple[Fraction, Fraction] | None:
    """Root and slope in one variable, exactly; None where the tree is not linear in it."""
    try:
        at = [Exact({**point, name: Fraction(t)}).value(tree) for t in (2, 3, 5, 11)]
    except (Inexact, Undefined):
        return None
    slope = at[1] - at[0]
    if slope == 0 or at[2] - at[1] != 2 * slope or at[3] - at[2] != 6 * slope:
        return None
    return 2 - at[0] / slope, slope


def _ratio(a: Tree, b: Tree, point: Point) -> Any:
    work = Approximation(point)
    try:
        x, y = work.value(a), work.value(b)
        floor = work.scale * work.mp.mpf(10) ** -AGREE
        return None if abs(y) <= floor or abs(x) <= floor else x / y
    except FAILED:
        return None


def _is_positive(value: Any) -> bool:
    mp = context()
    return bool(mp.im(value) == 0 and mp.re(value) > 0)


def constant(tree: Tree) -> Any:
    """The real value of a constant to 60 digits, or None."""
    if variables(tree):
        return None
    work = Approximation({})
    try:
        value = work.value(tree)
    except FAILED:
        return None
    return work.mp.re(value) if work.mp.im(value) == 0 else None


def rounds_to(tree: Tree, decimal: Fraction, digits: int) -> bool:
    """Whether a constant, rounded to `digits` decimals, is `decimal`."""
    value = constant(tree)
    if value is None:
        return False
    mp = context()
    return bool(abs(value - mp.mpf(decimal.numerator) / decimal.denominator) <= mp.mpf(10) ** -digits / 2)
