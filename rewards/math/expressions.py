r"""Expressions as answers: equal values, and the conventions where the writing leaves them open."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.families import same_family
from rewards.math.numbers import NUMBER, rounded
from rewards.math.parse import tree_of
from rewards.math.trees import Tree
from rewards.math.value import rounds_to, same_value

CAPITALS = re.compile(r"[A-Z]{2,}")


def same_expression(gold: str, answer: str) -> bool:
    """Whether two expressions have one value, under the conventions for logarithms, constants and rounded golds."""
    if CAPITALS.fullmatch(gold) and CAPITALS.fullmatch(answer):
        return False  # names of points, orders of letters: not a product in any order
    a, b = tree_of(gold), tree_of(answer)
    if a is None or b is None:
        return False
    if a == b or same_value(a, b):
        return True
    if "log" in gold + answer and (_has_log10(a) or _has_log10(b)) and same_value(_decadic(a), _decadic(b)):
        return True
    if same_family(gold, answer, set()):
        return True
    decimal = rounded(gold)
    if decimal is None or (NUMBER.fullmatch(answer) and "." in answer) or "..." in answer:
        return False
    return not _has_decimal(answer) and rounds_to(b, *decimal)


def _has_decimal(text: str) -> bool:
    return re.search(r"\d\.\d", text) is not None


def _has_log10(tree: Tree) -> bool:
    if tree[0] == "call" and (tree[1] == "lg" or (tree[1] == "log" and tree[3:] == (("num", Fraction(10)),))):
        return True
    return any(_has_log10(child) for child in tree[1:] if isinstance(child, tuple))


def _decadic(tree: Tree) -> Tree:
    """With `log` read to base 10, as the other side writes it."""
    parts = tuple(_decadic(child) if isinstance(child, tuple) else child for child in tree)
    return (*parts, ("num", Fraction(10))) if parts[:2] == ("call", "log") and len(parts) == 3 else parts
