r"""Equations, inequalities and assignments: `2x + 2y = 4` is `x + y = 2`, `x = 5` answers `5`, `3 < x` is `x > 3`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rewards.math.normal import squeezed
from rewards.math.numbers import rational
from rewards.math.parse import tree_of
from rewards.math.structure import Relation, as_interval, bracketed, relation
from rewards.math.tokens import Unsupported
from rewards.math.trees import Tree
from rewards.math.value import proportional, same_roots, same_value, variables

RATIO_NAME = re.compile(r"[:/+]|\\frac")

Same = Callable[[str, str], bool]


def same_relations(gold: str, answer: str, same: Same) -> bool | None:
    """Two relations, or one against a value, an interval or a set; `same` compares their parts."""
    left, right = relation(gold), relation(answer)
    if left is None and right is None:
        return None
    if left is not None and right is not None:
        first, second = _range(left), _range(right)
        if first is not None and second is not None and (left.signs == ["\\in"]) != (right.signs == ["\\in"]):
            return same(first, second)
        return _same_relation(left, right, same)
    found, other, other_is_gold = (left, answer, False) if left is not None else (right, gold, True)
    assert found is not None
    inside = bracketed(other)
    if (interval := as_interval(found)) is not None and inside is not None and len(inside.items) == 2:
        return same(*((other, interval) if other_is_gold else (interval, other)))
    value = _said(found, same)
    return value is not None and same(*((other, value) if other_is_gold else (value, other)))


def _said(found: Relation, same: Same) -> str | None:
    """What `x = 5`, `5 = x`, `f(x) = ... = 5` or `m + n = 5` gives for an answer."""
    if found.named:
        values = [value for part in found.parts[1:] if (value := rational(part)) is not None]
        agree = all(value == values[-1] or "." in found.parts[-1] for value in values)
        return found.parts[-1] if agree else None  # `x = 41 = 42` says nothing
    if len(found.signs) == 1 and found.turned().named:
        return found.parts[0]
    if set(found.signs) != {"="}:
        return None
    left, right = tree_of(found.parts[0]), tree_of(found.parts[-1])
    if left is not None and not variables(left):
        return found.parts[-1] if _adds_up(found.parts, same) else None  # 4^2 = 16
    if len(found.signs) > 1 or left is None or right is None or variables(right):
        return None
    return None if _has_number(left) else found.parts[1]


def _adds_up(parts: Sequence[str], same: Same) -> bool:
    """Whether each part of `48 + 24 = 72 clips` has the value of the first; the last may have a unit."""
    trees = [tree_of(part) for part in parts]
    known = [tree for tree in trees if tree is not None and not variables(tree)]
    if not all(same_value(known[0], tree) for tree in known[1:]):
        return False
    return known == trees or (known == trees[:-1] and same(parts[0], parts[-1]))


def _has_number(tree: Tree) -> bool:
    return tree[0] in ("num", "const") or any(_has_number(child) for child in tree[1:] if isinstance(child, tuple))


def _range(found: Relation) -> str | None:
    return found.parts[-1] if found.signs == ["\\in"] else as_interval(found)


def _same_relation(left: Relation, right: Relation, same: Same) -> bool:
    if left.named and right.named:
        same_name = squeezed(left.parts[0]) == squeezed(right.parts[0])
        names = squeezed(left.parts[0]), squeezed(right.parts[0])
        long_names = all(len(name) > 1 and not RATIO_NAME.search(name) for name in names)
        if (same_name or long_names) and same(left.parts[-1], right.parts[-1]):
            return True
    if len(left.signs) != len(right.signs):
        return False
    if len(left.signs) > 1:
        turned = right.turned()
        return any(left.signs == other.signs and all_same(left.parts, other.parts, same) for other in (right, turned))
    try:
        a, b = left.difference(), right.difference()
    except Unsupported:
        return any(
            left.signs == other.signs and all_same(left.parts, other.parts, same) for other in (right, right.turned())
        )
    if left.signs == right.signs:
        equation = left.signs[0] in ("=", "\\ne")
        return proportional(a, b, positive=not equation) or (equation and same_roots(a, b))
    return left.signs == right.turned().signs and proportional(("neg", a), b, positive=True)


def all_same(golds: Sequence[str], answers: Sequence[str], same: Same) -> bool:
    return len(golds) == len(answers) and all(same(a, b) for a, b in zip(golds, answers, strict=True))
