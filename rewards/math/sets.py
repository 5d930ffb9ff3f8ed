r"""Sets of real numbers in any notation: `x \ne 3`, `(-\infty,3)\cup(3,\infty)`, `\R\setminus\{3\}` are one set.

A set is a sorted tuple of disjoint pieces `(low, closed, high, closed)` with numeric ends, as `mpmath` numbers
rounded to 40 digits. What has symbols in its ends is no business of this layer.
"""

from __future__ import annotations

import re
from typing import Any

from rewards.math.approximate import context
from rewards.math.parse import tree_of
from rewards.math.structure import Relation, bracketed, relation, split_at, split_top
from rewards.math.texts import plain
from rewards.math.value import constant, linear, variables

Piece = tuple[Any, bool, Any, bool]
RealSet = tuple[Piece, ...]

MARKS = re.compile(r"\\(?:cup|cap|setminus|ne|le|ge|in|R|emptyset)(?![a-zA-Z])|\\\{\s*\\\}|[<>]|real|interval")
CUP = re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]])\s*[uU]\s*(?=[(\[])|\x01\s*,?\s*or\s*\x02|(?<![a-zA-Z\\])or(?![a-zA-Z])")
CAP = re.compile(
    r"\\cap(?![a-zA-Z])|\x01\s*,?\s*(?:and|but)\s*\x02|(?<![a-zA-Z\\])(?:and|but)(?![a-zA-Z])|\\land(?![a-zA-Z])"
)
MINUS = re.compile(r"\\setminus(?![a-zA-Z])|(?<=R)\s*-\s*(?=\\\{)|\\R\s*-\s*(?=\\\{)")
EXCEPT = re.compile(
    r"\s*,?\s*(?:\x02\s*\x01\s*)?\bexcept(?: for)?\b\s*\x02?\s*(?:[a-z]\s*=\s*)?"
    r"(?P<points>[^\x01]*?(?:\x01\s*(?:and|or)\s*\x02[^\x01]*?)*)\x02?\s*$"
)
BUILDER = re.compile(r"\s*(?:[a-zA-Z]\s*(?:\\in\s*\\R\s*)?)(?:\||:|\\colon)\s*(?P<condition>.+)", re.DOTALL)
EVERYTHING = re.compile(
    r"(?:[a-z] ?\\in ?)?(?:\\R|(?:the )?(?:set of )?(?:all )?real(?: numbers?)?s?|all reals|r)", re.IGNORECASE
)
LONGEST = 400
DEEPEST = 6


def same_set(gold: str, answer: str) -> bool | None:
    """Whether two answers are the same set of reals; None where one is none, or neither is written as a set."""
    if len(gold) + len(answer) > LONGEST or not (MARKS.search(gold) or MARKS.search(answer)):
        return None
    first, second = _named_set(gold), _named_set(answer)
    if first is None or second is None:
        return None
    if first[0] and second[0] and first[0] != second[0]:
        return False  # another variable
    return first[1] == second[1]


def _named_set(text: str) -> tuple[str, RealSet] | None:
    names: set[str] = set()
    found = _of(text, names, 0)
    return None if found is None or len(names) > 1 else ("".join(names), found)


def _of(text: str, names: set[str], depth: int) -> RealSet | None:
    text = text.strip().strip(",").strip()
    if (apart := EXCEPT.search(text)) is not None:
        points = apart["points"].strip()
        text = f"{text[: apart.start()]}\\setminus " + (points if points.startswith("\\{") else f"\\{{{points}\\}}")
    if depth > DEEPEST or not text:
        return None
    if EVERYTHING.fullmatch(plain(text)):
        return ((-_inf(), False, _inf(), False),)
    for pattern, join in ((CUP, _union), (CAP, _intersection), (MINUS, _difference)):
        parts = split_at(text, pattern)
        if len(parts) > 1:
            return _joined([_of(part, names, depth + 1) for part in parts], join)
    parts = split_top(text)
    if len(parts) > 1:
        return _list(parts, names, depth)
    found = relation(text)
    return _condition(found, names, depth) if found is not None else _bracket(text, names, depth)


def _list(parts: list[str], names: set[str], depth: int) -> RealSet | None:
    """`x < 1, x > 5` is a union, `x \\ne 1, x \\ne 2` an intersection; `x \\ne 1, 2` too."""
    first = relation(parts[0])
    if first is None:
        return None
    if first.signs == ["\\ne"]:
        parts = [part if relation(part) else f"{first.parts[0]}\\ne {part}" for part in parts]
        return _joined([_of(part, names, depth + 1) for part in parts], _intersection)
    if all(relation(part) is not None for part in parts):
        return _joined([_of(part, names, depth + 1) for part in parts], _union)
    return None


def _joined(sets: list[RealSet | None], join: Any) -> RealSet | None:
    total = sets[0]
    for other in sets[1:]:
        if total is None or other is None:
            return None
        total = join(total, other)
    return total


def _bracket(text: str, names: set[str], depth: int) -> RealSet | None:
    if text.startswith("\\emptyset"):
        return ()
    inside = bracketed(text)
    if inside is None:
        return None
    if inside.brackets == "{}":
        content = text.strip()[2:-2] if text.startswith("\\{") else text.strip()[1:-1]
        if not content.strip():
            return ()
        if (builder := BUILDER.fullmatch(content)) is not None:
            return _of(builder["condition"], names, depth + 1)
        ends = [_number(item) for item in inside.items]
        return None if None in ends else _sorted([(end, True, end, True) for end in ends])
    if len(inside.items) != 2:
        return _of(text[1:-1], names, depth + 1) if len(inside.items) == 1 and inside.brackets == "()" else None
    low, high = _number(inside.items[0]), _number(inside.items[1])
    if low is None or high is None or not low < high:
        return None
    return _sorted([(low, inside.brackets[0] == "[", high, inside.brackets[1] == "]")])


def _condition(found: Relation, names: set[str], depth: int) -> RealSet | None:
    """`a < x \\le b`, `x \\ne 3`, `3 = x`, `x \\in (1, 2)`."""
    parts, signs = found.parts, found.signs
    if len(signs) == 1 and not _is_name(parts[0]) and _is_name(parts[1]):
        parts, signs = found.turned().parts, found.turned().signs
    if len(signs) == 1 and _is_name(parts[0]):
        names.add(parts[0])
        return _of(parts[1], names, depth + 1) if signs[0] == "\\in" else _half_line(signs[0], _number(parts[1]))
    if len(signs) == 1:
        return _around(parts, signs[0], names)
    if len(signs) == 2 and _is_name(parts[1]):
        names.add(parts[1])
        left = Relation(parts[:2], signs[:1]).turned()
        return _joined(
            [_half_line(left.signs[0], _number(parts[0])), _half_line(signs[1], _number(parts[2]))], _intersection
        )
    return None


def _around(parts: list[str], sign: str, names: set[str]) -> RealSet | None:
    """`|x - 2| < 3` and `x^2 \\le 5`: what lies around a middle, or outside."""
    end, tree = _number(parts[1]), tree_of(parts[0])
    if end is None or tree is None or end < 0 or sign not in ("<", "\\le", ">", "\\ge"):
        return None
    if tree[0] == "pow" and tree[2] == ("num", 2):
        end = context().sqrt(end)
    elif tree[:2] != ("call", "abs"):
        return None
    inner = tree[2] if tree[0] == "call" else tree[1]
    if len(variables(inner)) != 1:
        return None
    (name,) = variables(inner)
    line = linear(inner, name, {})
    if line is None:
        return None
    middle, slope = line
    names.add(name)
    mp = context()
    centre, reach = (
        mp.mpf(middle.numerator) / middle.denominator,
        end / abs(mp.mpf(slope.numerator) / slope.denominator),
    )
    low, high = (mp.mpf(mp.nstr(value, 40)) for value in (centre - reach, centre + reach))
    inside = sign in ("<", "\\le")
    closed = (sign == "\\le") if inside else sign == ">"
    piece: RealSet = () if low > high or (low == high and not closed) else ((low, closed, high, closed),)
    return piece if inside else _complement(piece)


def _half_line(sign: str, end: Any) -> RealSet | None:
    if end is None:
        return None
    if sign == "=":
        return ((end, True, end, True),)
    if sign == "\\ne":
        return _complement(((end, True, end, True),))
    if sign in ("<", "\\le"):
        return ((-_inf(), False, end, sign == "\\le"),)
    return ((end, sign == "\\ge", _inf(), False),) if sign in (">", "\\ge") else None


def _is_name(text: str) -> bool:
    return (
        re.fullmatch(r"[a-zA-Z]|\\(?:theta|alpha|beta|lambda|mu|phi|omega)\s*", text) is not None and text not in "ei"
    )


def _inf() -> Any:
    return context().inf


def _number(text: str) -> Any:
    text = text.strip()
    if (found := re.fullmatch(r"([-+]?)\s*\\?(?:infty|infinity|oo|inf)\s*", text)) is not None:
        return -_inf() if found[1] == "-" else _inf()
    tree = tree_of(text)
    value = None if tree is None else constant(tree)
    return None if value is None else context().mpf(context().nstr(value, 40))


def _sorted(pieces: list[Piece]) -> RealSet:
    """Overlapping and touching pieces made one."""
    merged: list[Piece] = []
    for low, closed, high, end in sorted(pieces, key=lambda piece: (piece[0], not piece[1])):
        if merged and (low < merged[-1][2] or (low == merged[-1][2] and (closed or merged[-1][3]))):
            before = merged[-1]
            top = max((before[2], before[3]), (high, end))
            merged[-1] = (before[0], before[1], *top)
        else:
            merged.append((low, closed and low != -_inf(), high, end and high != _inf()))
    return tuple(merged)


def _union(a: RealSet, b: RealSet) -> RealSet:
    return _sorted([*a, *b])


def _complement(a: RealSet) -> RealSet:
    low, open_ = -_inf(), False
    gaps: list[Piece] = []
    for start, closed, end, last in a:
        if start > low or (start == low and open_ and not closed):
            gaps.append((low, open_, start, not closed))
        low, open_ = end, not last
    if low != _inf():
        gaps.append((low, open_, _inf(), False))
    return _sorted([gap for gap in gaps if gap[0] < gap[2] or (gap[1] and gap[3])])


def _intersection(a: RealSet, b: RealSet) -> RealSet:
    return _complement(_union(_complement(a), _complement(b)))


def _difference(a: RealSet, b: RealSet) -> RealSet:
    return _intersection(a, _complement(b))
