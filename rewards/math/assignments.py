r"""Which name has which value: `x = 2, y = 3`, `(x, y) = (2, 3)`, `x = y = 2`; and what cannot be a tuple."""

from __future__ import annotations

import re
from functools import lru_cache

from rewards.math.normal import squeezed
from rewards.math.parse import tree_of
from rewards.math.structure import (
    NOT_NAMES,
    Relation,
    bracketed,
    relation,
    says_or,
    split_top,
    strip_outer,
)
from rewards.math.value import constant

VARIABLE = re.compile(r"(?:[a-zA-Z]|\\[a-zA-Z]+)'{0,3}\s*(?:_\s*(?:\{\s*\w+\s*\}|\w)\s*)?")
INDEXED = re.compile(r"(\\?[a-zA-Z]+)_(?:\{\w+\}|\w)")


@lru_cache(maxsize=1024)
def assigned(text: str) -> tuple[tuple[str, str], ...] | None:
    """Names and values as written, each name once; None where the text is anything else, or says "or"."""
    if "=" not in text or says_or(text):
        return None
    pairs: list[tuple[str, str]] = []
    for item in split_top(text):
        found = relation(item)
        if found is None or set(found.signs) != {"="}:
            return None
        pairs += _pairs(found)
    names = [name for name, _ in pairs]
    return tuple(pairs) if pairs and len(set(names)) == len(names) and all(names) else None


def _pairs(found: Relation) -> list[tuple[str, str]]:
    """Of one equation or chain; `("", "")` where it names nothing."""
    *left, value = found.parts
    if len(left) > 1:  # only plain variables: `A = lw = 12` gives A, and shows how
        return [(squeezed(name), value) for name in left] if all(map(is_variable, left)) else [("", "")]
    names, values = bracketed(left[0]), bracketed(value)
    if names is not None and len(names.items) > 1:
        if values is None or names.brackets != "()" or values.brackets != "()" or not found.named:
            return [("", "")]
        if len(names.items) != len(values.items):
            return [("", "")]
        return list(zip(map(squeezed, names.items), values.items, strict=True))
    return [(squeezed(strip_outer(left[0])), value) if found.named else ("", "")]


def is_variable(text: str) -> bool:
    """One letter, perhaps with an index or primes."""
    return VARIABLE.fullmatch(text.strip()) is not None and text.strip() not in NOT_NAMES


def is_chain(text: str) -> bool:
    """`x = y = 2`, not `x = 2`."""
    found = relation(text) if text.count("=") > 1 else None
    return found is not None and set(found.signs) == {"="} and len(split_top(text)) == 1


def roots(text: str) -> tuple[str, list[str]] | None:
    """The variable and the values of `x = 1 or x = 2` or `x_1 = 1, x_2 = 2`."""
    found = [relation(item) for item in split_top(text)]
    named = [one for one in found if one is not None and one.signs == ["="] and is_variable(one.parts[0])]
    if len(named) != len(found) or len(named) < 2:
        return None
    names = [squeezed(one.parts[0]) for one in named]
    indexed = [match[1] for name in names if (match := INDEXED.fullmatch(name)) is not None]
    if len(indexed) == len(names) == len(set(names)):
        names = indexed
    return (names[0], [one.parts[1] for one in named]) if len(set(names)) == 1 else None


def may_be_tuple(listed: str, brackets: str, *, is_gold: bool) -> bool:
    """Whether a list may stand for a tuple in these brackets, not for the values or the ends of an interval.

    Values of one variable are no point, and two numbers that rise are the ends of an interval where the brackets
    may mean one: square ones, and round ones behind a bare list as gold.
    """
    if says_or(listed):
        return False
    items = split_top(listed)
    named = [one.parts[0].strip() for item in items if (one := relation(item)) is not None and one.named]
    if named:
        return len(named) == len(items) == len(set(named))
    return not (len(items) == 2 and (is_gold or brackets == "[]") and _may_rise(*items))


def _may_rise(low: str, high: str) -> bool:
    first, second = tree_of(low), tree_of(high)
    if first is None or second is None:
        return False
    a, b = constant(first), constant(second)
    return a is None or b is None or bool(a < b)
