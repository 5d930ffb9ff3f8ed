r"""Is this answer the gold answer? Layers by cost; each says yes or no only when it is sure.

    same text -> exact numbers -> structure (lists, tuples, sets, intervals, matrices, relations, units), element by
    element -> expression values -> words

Conventions (also in the tests): percent is a unit (`28%` = `28` = `0.28` where one side has no sign); a missing unit
is no error, a different one is; a bare list is unordered, a tuple is ordered; `x = 5` answers `5`; 0.333 is not 1/3,
but an exact value may answer a gold that is itself a decimal of three or more significant digits.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache

from rewards.math.normal import LONGEST, has_hidden_characters, normal, squeezed, words
from rewards.math.parse import Tree, Unsupported, parse
from rewards.math.structure import (
    Relation,
    as_interval,
    bracketed,
    matrix,
    relation,
    split_top,
    strip_outer,
)
from rewards.math.units import split_unit
from rewards.math.value import proportional, rounds_to, same_value

NUMBER = re.compile(r"[-+]?\s*(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})")
SLASHED = re.compile(r"([-+]?)\s*(?:(\d{1,400})\s+)?(\d{1,400})\s*/\s*(\d{1,400})")
FRAC = re.compile(
    r"([-+]?)\s*(\d{1,400})?\s*\\frac\s*(?:\{\s*(-?\d{1,400})\s*\}|(\d))\s*(?:\{\s*(\d{1,400})\s*\}|(\d))"
)
REPEATING = re.compile(r"(-?)(\d{0,50})\.(\d{0,50})\\(?:overline|bar)\s*(?:\{(\d{1,50})\}|\s*(\d))(?:\.\.\.)?")
BASED = re.compile(r"([0-9A-F]{1,200})_\s*(?:\{\s*(\d{1,2})\s*\}|(\d{1,2}))")
CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?[.:]?")
DEEPEST = 6
MOST_ITEMS = 200


def same_answer(gold: str, answer: str) -> bool:
    """Whether `answer` says the same as `gold`; both are answers alone, in any dialect."""
    if gold == answer:
        return True
    if len(answer) > LONGEST or len(gold) > LONGEST:
        return squeezed(gold) == squeezed(answer)
    if has_hidden_characters(answer):
        return False
    return _same(normal(gold), normal(answer), 0)


def _same(gold: str, answer: str, depth: int) -> bool:
    if not answer or not gold or depth > DEEPEST:
        return False
    a, b = rational(gold), rational(answer)
    if a is not None and b is not None:
        return a == b
    if squeezed(gold) == squeezed(answer):
        return True
    gold, answer = strip_outer(gold), strip_outer(answer)
    for layer in (_lists, _relations, _matrices, _brackets, _based, _units):
        verdict = layer(gold, answer, depth)
        if verdict is not None:
            return verdict
    return _values(gold, answer) or _words(gold, answer)


@lru_cache(maxsize=4096)
def rational(text: str) -> Fraction | None:
    """The exact value of an integer, decimal, fraction, mixed number or repeating decimal; else None."""
    if NUMBER.fullmatch(text):
        return Fraction(text.replace(" ", "").rstrip("."))
    if (found := SLASHED.fullmatch(text)) or (found := FRAC.fullmatch(text)):
        groups = [group for group in found.groups()[2:] if group is not None]
        top, bottom = int(groups[0]), int(groups[1])
        if bottom == 0:
            return None
        if found[2] is not None and (top < 0 or top >= bottom):
            return None
        value = int(found[2] or 0) + Fraction(top, bottom)
        return -value if found[1] == "-" else value
    if found := REPEATING.fullmatch(text):
        whole, head, cycle = found[2] or "0", found[3], found[4] or found[5]
        scale = 10 ** len(head)
        value = int(whole) + Fraction(int(head or 0), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
        return -value if found[1] else value
    return None


def _lists(gold: str, answer: str, depth: int) -> bool | None:
    """`1, 2` and `\\pm 2`: bare lists, in any order; a tuple may answer a list in its order and the other way."""
    golds, answers = split_top(gold), split_top(answer)
    if len(golds) > MOST_ITEMS or len(answers) > MOST_ITEMS:
        return False
    if len(golds) == 1 and len(answers) == 1:
        return None
    if len(golds) > 1 and len(answers) > 1:
        return _match(golds, answers, depth)
    listed, single = (golds, answer) if len(golds) > 1 else (answers, gold)
    inside = bracketed(single)
    if inside is not None and inside.brackets == "{}":
        return _match(golds, inside.items, depth) if listed is golds else _match(inside.items, answers, depth)
    if inside is not None and inside.brackets in ("()", "[]"):
        pairs = zip(golds, inside.items, strict=False) if listed is golds else zip(inside.items, answers, strict=False)
        return len(inside.items) == len(listed) and all(_same(g, p, depth + 1) for g, p in pairs)
    found = relation(single)
    if found is not None and found.named and len(split_top(found.parts[-1])) > 1:
        return None
    return False


def _match(golds: list[str], answers: list[str], depth: int) -> bool:
    """The same items in any order, each used once."""
    if len(golds) != len(answers) or not all(item.strip() for item in answers):
        return False
    left, right = Counter(map(squeezed, golds)), Counter(map(squeezed, answers))
    if left == right:
        return True
    rest = list(answers)
    if len(rest) > 24 and sum((left - right).values()) > 24:
        return False
    for item in golds:
        hit = next((i for i, candidate in enumerate(rest) if _same(item.strip(), candidate.strip(), depth + 1)), None)
        if hit is None:
            return False
        del rest[hit]
    return True


def _relations(gold: str, answer: str, depth: int) -> bool | None:
    left, right = relation(gold), relation(answer)
    if left is None and right is None:
        return None
    if left is not None and right is not None:
        first, second = _range(left), _range(right)
        if first is not None and second is not None and (left.signs == ["\\in"]) != (right.signs == ["\\in"]):
            return _same(first, second, depth + 1)
        return _same_relation(left, right, depth)
    found, other, other_is_gold = (left, answer, False) if left is not None else (right, gold, True)
    assert found is not None
    inside = bracketed(other)
    if (interval := as_interval(found)) is not None and inside is not None and len(inside.items) == 2:
        return _same(*((other, interval) if other_is_gold else (interval, other)), depth + 1)
    if not found.named:
        return False
    value = found.parts[-1]
    return _same(*((other, value) if other_is_gold else (value, other)), depth + 1)


def _range(found: Relation) -> str | None:
    return found.parts[-1] if found.signs == ["\\in"] else as_interval(found)


def _same_relation(left: Relation, right: Relation, depth: int) -> bool:
    if left.named and right.named:
        same_name = squeezed(left.parts[0]) == squeezed(right.parts[0])
        if same_name or len(squeezed(left.parts[0])) > 1 < len(squeezed(right.parts[0])):
            return _same(left.parts[-1], right.parts[-1], depth + 1)
    if len(left.signs) != len(right.signs):
        return False
    if len(left.signs) > 1:
        forward = left.signs == right.signs and all(
            _same(a, b, depth + 1) for a, b in zip(left.parts, right.parts, strict=True)
        )
        turned = right.turned()
        return forward or (
            left.signs == turned.signs
            and all(_same(a, b, depth + 1) for a, b in zip(left.parts, turned.parts, strict=True))
        )
    try:
        a, b = left.difference(), right.difference()
    except Unsupported:
        return left.signs == right.signs and all(
            _same(x, y, depth + 1) for x, y in zip(left.parts, right.parts, strict=True)
        )
    if left.signs == right.signs:
        return proportional(a, b, positive=left.signs[0] not in ("=", "\\ne"))
    return left.signs == right.turned().signs and proportional(("neg", a), b, positive=True)


def _matrices(gold: str, answer: str, depth: int) -> bool | None:
    left, right = matrix(gold), matrix(answer)
    if left is None and right is None:
        return None
    if left is None or right is None or left[0] != right[0] or [len(r) for r in left[1]] != [len(r) for r in right[1]]:
        return False
    return all(
        _same(a, b, depth + 1)
        for row, other in zip(left[1], right[1], strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _brackets(gold: str, answer: str, depth: int) -> bool | None:
    """Tuples, intervals, sets and unions of them."""
    left, right = split_top(gold, cup=True), split_top(answer, cup=True)
    if len(left) > 1 or len(right) > 1:
        return _match(left, right, depth)
    a, b = bracketed(gold), bracketed(answer)
    if a is None and b is None:
        return None
    if a is None or b is None:
        return None if (a or b).brackets == "()" and len((a or b).items) == 1 else False  # type: ignore[union-attr]
    if a.brackets == "{}" or b.brackets == "{}":
        return a.brackets == b.brackets and _match(a.items, b.items, depth)
    round_or_square = len(a.items) != 2 and {a.brackets, b.brackets} <= {"()", "[]"}
    if len(a.items) != len(b.items) or (a.brackets != b.brackets and not round_or_square):
        return False
    if len(a.items) == 1:
        return None
    return all(_same(x, y, depth + 1) for x, y in zip(a.items, b.items, strict=True))


def _based(gold: str, answer: str, depth: int) -> bool | None:
    """`1011_2`: the same base (or none given) and the same digits, or the same number in two bases."""
    a, b = BASED.fullmatch(gold), BASED.fullmatch(answer)
    if a is None and b is None:
        return None
    if a is None or b is None:
        digits = (a or b)[1]  # type: ignore[index]
        return digits == re.sub(r"\s", "", answer if a is not None else gold)
    bases = int(a[2] or a[3]), int(b[2] or b[3])
    if bases[0] == bases[1]:
        return a[1].lstrip("0") == b[1].lstrip("0")
    try:
        return int(a[1], bases[0]) == int(b[1], bases[1])
    except ValueError:
        return False


def _units(gold: str, answer: str, depth: int) -> bool | None:
    (left, unit), (right, other) = split_unit(gold), split_unit(answer)
    if left == gold and right == answer:
        return None
    if unit and other and unit != other and "unit" not in (unit, other):
        return False
    if _same(left, right, depth + 1):
        return True
    if unit == "%" and not other:
        return _same(f"({left})/100", right, depth + 1)
    if other == "%" and not unit:
        return _same(left, f"({right})/100", depth + 1)
    return None if unit not in ("%", "deg", "$") and other not in ("%", "deg", "$") else False


@lru_cache(maxsize=4096)
def tree_of(text: str) -> Tree | None:
    """The expression tree, or None where the text is no expression."""
    try:
        return parse(text)
    except (Unsupported, RecursionError):
        return None


def _values(gold: str, answer: str) -> bool:
    a, b = tree_of(gold), tree_of(answer)
    if a is None or b is None:
        return False
    if a == b or same_value(a, b):
        return True
    if NUMBER.fullmatch(gold) and "." in gold and not NUMBER.fullmatch(answer) and "." not in answer:
        digits = gold.partition(".")[2].strip()
        if len(digits) >= 2 and len(gold.strip("-+ 0.").replace(".", "")) >= 3:
            return rounds_to(b, Fraction(gold.replace(" ", "")), len(digits))
    return False


def _words(gold: str, answer: str) -> bool:
    if ":" in gold and ":" in answer:
        left, right = gold.split(":"), answer.split(":")
        return 1 < len(left) == len(right) <= 4 and all(_same(a, b, 1) for a, b in zip(left, right, strict=True))
    mine, theirs = CHOICE.fullmatch(_bare(gold)), CHOICE.fullmatch(_bare(answer))
    if mine is not None and theirs is not None:
        return mine[1] == theirs[1]
    a, b = words(gold), words(answer)
    return a == b and re.search(r"[^\W\d_]{3}", a) is not None and "^" not in a


def _bare(text: str) -> str:
    return text.replace("\x01", "").replace("\x02", "").strip()
