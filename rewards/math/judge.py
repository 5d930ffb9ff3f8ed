r"""Is this answer the gold answer? Layers by cost; each says yes or no only when it is sure.

    same text -> exact numbers -> words of one kind (options, times, ratios) -> structure (sets, lists, tuples,
    intervals, matrices, relations, units), element by element -> values -> phrases

The conventions are in docs/rewards/math.md, with examples on both sides of each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rewards.math import texts
from rewards.math.assignments import assigned, is_chain, is_variable, may_be_tuple, roots
from rewards.math.expressions import same_expression
from rewards.math.families import same_parameters, same_residue
from rewards.math.matrices import same_matrix, unit_vectors
from rewards.math.normal import LONGEST, has_hidden_characters, normal, squeezed
from rewards.math.numbers import rational, rounded_from, same_based
from rewards.math.parse import tree_of
from rewards.math.relations import same_relations
from rewards.math.sets import same_set
from rewards.math.structure import (
    LAND,
    LOR,
    ON_THE_REALS,
    bracketed,
    relation,
    rows_of_cases,
    says_or,
    split_at,
    split_top,
    strip_outer,
    tuple_items,
)
from rewards.math.units import factor, split_unit, unit_of
from rewards.math.value import same_value

FORMULA = re.compile(r"[\\\d^*/+=]")
POINT = re.compile(r"^[A-Z]'?\s*=?\s*(?=\()")
DEEPEST = 6
MOST_ITEMS = 200
STRICT = {"%", "deg", "$", "€", "£"}  # a bare number beside one of these is compared, and then the verdict stands


def same_answer(gold: str, answer: str) -> bool:
    """Whether `answer` says the same as `gold`; both are answers alone, in any dialect."""
    if gold == answer:
        return True
    if len(answer) > LONGEST:
        answer = _unwrapped(answer)
    if len(answer) > LONGEST or len(gold) > LONGEST:
        return squeezed(gold) == squeezed(answer)
    if has_hidden_characters(answer):
        return False
    if squeezed(gold) == squeezed(answer):
        return True  # `100,200` prints like `100, 200`
    return _same(normal(gold), normal(answer), 0)


def _unwrapped(text: str) -> str:
    """A long text without the braces around it."""
    opened = len(text) - len(text.lstrip("{ "))
    closed = len(text) - len(text.rstrip("} "))
    return text[min(opened, closed) : len(text) - min(opened, closed)]


def _same(gold: str, answer: str, depth: int) -> bool:
    if not answer or not gold or depth > DEEPEST:
        return False
    a, b = rational(gold), rational(answer)
    if a is not None and b is not None:
        return a == b or rounded_from(gold, answer, b)
    if squeezed(gold) == squeezed(answer):
        return True
    gold, answer = (ON_THE_REALS.sub(r"\g<rule>", text) if "\\R" in text else text for text in (gold, answer))
    gold, answer = strip_outer(gold), strip_outer(answer)
    for layer in LAYERS:
        verdict = layer(gold, answer, depth)
        if verdict is not None:
            return verdict
    trees = tree_of(gold), tree_of(answer)
    if None not in trees and same_expression(gold, answer):
        return True
    formulas = None not in trees and (FORMULA.search(gold) or FORMULA.search(answer))
    return not formulas and texts.same_phrase(gold, answer)


def _spelt(gold: str, answer: str, depth: int) -> bool | None:
    """`twenty-one`, `5 million`."""
    if not (texts.NUMBER_WORD.search(gold) or texts.NUMBER_WORD.search(answer)):
        return None
    mine, theirs = texts.in_digits(gold), texts.in_digits(answer)
    return _same(mine, theirs, depth + 1) if (mine, theirs) != (gold, answer) else None


def _kinds(gold: str, answer: str, depth: int) -> bool | None:
    """Options, yes and no, times, dates, ratios, residues, numbers in a base."""
    if texts.DECISION.fullmatch(gold) is not None:
        return texts.same_phrase(gold, answer)
    if re.search(r"[A-J]", gold) and (verdict := texts.same_option(gold, answer)) is not None:
        return verdict
    if ":" in gold or ":" in answer or "m" in gold.lower():
        verdict = texts.same_time(gold, answer)
        verdict = texts.same_ratio(gold, answer) if verdict is None else verdict
        if verdict is not None:
            return verdict
        mine, theirs = texts.as_fraction(gold), texts.as_fraction(answer)
        if (mine is None) != (theirs is None):
            return _same(mine or gold, theirs or answer, depth + 1)
        if (verdict := _proportion(gold, answer)) is not None:
            return verdict
    if re.search(r"[a-z]{3}|\d-\d", gold) and (verdict := texts.same_date(gold, answer)) is not None:
        return verdict
    if "mod" in gold or "mod" in answer:
        verdict = same_residue(gold, answer)
        if verdict is not None:
            return verdict
    return same_based(gold, answer) if "_" in gold or "_" in answer else None


def _proportion(gold: str, answer: str) -> bool | None:
    """`1:\\sqrt{2}` is `\\sqrt{2}:2`."""
    left, right = ([tree_of(part) for part in text.split(":")] for text in (gold, answer))
    if len(left) != len(right) or not 1 < len(left) < 6 or None in left + right:
        return None
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    (first, other), *rest = pairs
    return all(same_value(("mul", a, other), ("mul", b, first)) for a, b in rest)


def _cases(gold: str, answer: str, depth: int) -> bool | None:
    """Piecewise functions and systems of equations: the same rows, in any order."""
    if "\\begin" not in gold and "\\begin" not in answer:
        return None
    left, right = rows_of_cases(gold), rows_of_cases(answer)
    if left is None and right is None:
        return None
    if all(len(row) == 1 for row in [*(left or []), *(right or [])]):  # a system of equations is a list of them
        texts_ = [
            text if rows is None else ", ".join(row[0] for row in rows)
            for rows, text in ((left, gold), (right, answer))
        ]
        return _same(texts_[0], texts_[1], depth + 1)
    if left is None or right is None or len(left) != len(right) or len(left) > 12:
        return False
    rest = list(right)
    for row in left:
        hit = next((other for other in rest if _all_same(row, other, depth)), None)
        if hit is None:
            return False
        rest.remove(hit)
    return True


def _all_same(golds: Sequence[str], answers: Sequence[str], depth: int) -> bool:
    return len(golds) == len(answers) and all(_same(a, b, depth + 1) for a, b in zip(golds, answers, strict=True))


def _logic(gold: str, answer: str, depth: int) -> bool | None:
    """`p \\land q` in any order."""
    for sign in (LAND, LOR):
        left, right = split_at(gold, sign), split_at(answer, sign)
        if len(left) > 1 and len(right) > 1:
            return _match(left, right, depth)
    return None


def _sets(gold: str, answer: str, depth: int) -> bool | None:
    return same_set(gold, answer)


def _parameters(gold: str, answer: str, depth: int) -> bool | None:
    return same_parameters(gold, answer, lambda a, b: _same(a, b, depth + 1))


def _named(gold: str, answer: str, depth: int) -> bool | None:
    """`x = 2, y = 3`, `(x, y) = (2, 3)`, `x = y = 2`: by name where both sides name, else in the order written."""
    left, right = assigned(gold), assigned(answer)
    if left is None and right is None:
        return _roots(gold, answer, depth)
    if left is not None and right is not None:
        mine, theirs = dict(left), dict(right)
        if len(mine) == len(theirs) == 1:
            return None
        if mine.keys() == theirs.keys():
            return all(_same(value, theirs[name], depth + 1) for name, value in mine.items())
        if is_chain(gold) and is_chain(answer) and _linked(mine) == _linked(theirs):
            return True
        if len(mine) == len(theirs) and (verdict := _roots(gold, answer, depth)) is not None:
            return verdict
        return None if len(mine) == len(theirs) and not all(map(is_variable, [*mine, *theirs])) else False
    named, other = (left, answer) if left is not None else (right, gold)
    if named is None or len(named) == 1:
        return None
    values, items = [value for _, value in named], split_top(other)
    if says_or(other):
        return _roots(gold, answer, depth) or False
    if len(items) == 1 and is_chain(gold if left is not None else answer):
        items = tuple_items(other) or []
    elif len(items) == 1 or any(relation(item) is not None for item in items):
        return _roots(gold, answer, depth)
    by_name = [value for _, value in sorted(named)]
    return any(
        _all_same(*((order, items) if left is not None else (items, order)), depth) for order in (values, by_name)
    )


def _linked(chain: dict[str, str]) -> set[str]:
    """All that `a = b = c` says to be equal."""
    return chain.keys() | set(map(squeezed, chain.values()))


def _roots(gold: str, answer: str, depth: int) -> bool | None:
    """`x = 1 or x = 2` is `x_1 = 1, x_2 = 2`."""
    left, right = roots(gold), roots(answer)
    if left is None or right is None:
        return None
    return _match(left[1], right[1], depth) if left[0] == right[0] else None


def _lists(gold: str, answer: str, depth: int) -> bool | None:
    """`1, 2` and `\\pm 2`: bare lists, in any order; a tuple may answer a list in its order and the other way."""
    golds, answers = split_top(gold), split_top(answer)
    if len(golds) > MOST_ITEMS or len(answers) > MOST_ITEMS:
        return False
    if len(golds) == 1 and len(answers) == 1:
        return None
    if len(golds) == 1 and says_or(answer) and _one_value(gold, answers, depth):
        return True
    if len(golds) > 1 and len(answers) > 1:
        return _match(_completed(golds), _completed(answers), depth)
    listed, single = (golds, answer) if len(golds) > 1 else (answers, gold)
    found_relation = relation(single)
    member = found_relation is not None and found_relation.signs == ["\\in"]
    if found_relation is not None and member:
        single = found_relation.parts[1]
    inside = bracketed(single)
    if inside is not None and inside.brackets == "{}":
        return _match(golds, inside.items, depth) if listed is golds else _match(inside.items, answers, depth)
    if inside is not None and inside.brackets in ("()", "[]"):
        if member or not may_be_tuple(gold if listed is golds else answer, inside.brackets, is_gold=listed is golds):
            return False
        ordered = _by_name(listed)
        pairs = (ordered, inside.items) if listed is golds else (inside.items, ordered)
        return _all_same(*pairs, depth)
    if found_relation is not None and found_relation.named and len(split_top(found_relation.parts[-1])) > 1:
        return None
    return False


def _one_value(gold: str, writings: list[str], depth: int) -> bool:
    """`1/2 or 0.5`: different writings of one value, the gold's."""
    distinct = len(set(map(squeezed, writings))) == len(writings)
    return distinct and bracketed(gold) is None and all(_same(gold, item, depth + 1) for item in writings)


def _by_name(items: list[str]) -> list[str]:
    """`y = 4, x = 3` in the order of the names, as a point has them."""
    found = [relation(item) for item in items]
    names = [one.parts[0].strip() for one in found if one is not None and one.named and len(one.parts[0].strip()) == 1]
    return [item for _, item in sorted(zip(names, items, strict=True))] if len(set(names)) == len(items) else items


def _completed(items: list[str]) -> list[str]:
    """`x = 1, 2` says x = 1 and x = 2."""
    first = relation(items[0])
    if first is None or not first.named or len(first.signs) > 1 or any(relation(item) for item in items[1:]):
        return items
    return [first.parts[1], *items[1:]]


def _match(golds: list[str], answers: list[str], depth: int) -> bool:
    """The same items in any order, each used once; a tuple said twice is said once."""
    golds, answers = _distinct(golds), _distinct(answers)
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


def _distinct(items: list[str]) -> list[str]:
    if not all(item.lstrip().startswith(("(", "[")) for item in items):
        return items
    return list({squeezed(item): item for item in items}.values())


def _relations(gold: str, answer: str, depth: int) -> bool | None:
    return same_relations(gold, answer, lambda a, b: _same(a, b, depth + 1))


def _matrices(gold: str, answer: str, depth: int) -> bool | None:
    return same_matrix(gold, answer, lambda a, b: _same(a, b, depth + 1))


def _brackets(gold: str, answer: str, depth: int) -> bool | None:
    """Tuples, intervals, sets and unions of them."""
    bare = POINT.sub("", gold), POINT.sub("", answer)
    if bare != (gold, answer) and all(len(tuple_items(text) or ()) > 1 for text in bare):
        gold, answer = bare  # A(2, 3)
    left, right = split_top(gold, cup=True), split_top(answer, cup=True)
    if len(left) > 1 or len(right) > 1:
        return _match(left, right, depth)
    a, b = bracketed(gold), bracketed(answer)
    if a is None and b is None:
        return None
    if a is None or b is None:
        one, other = (a, answer) if a is not None else (b, gold)
        assert one is not None
        if one.brackets == "{}" and len(one.items) == 1:
            return _same(*((one.items[0], other) if a is not None else (other, one.items[0])), depth + 1)
        if len(one.items) > 1 and (components := unit_vectors(other)) is not None:
            trees = [tree_of(item) for item in one.items]
            return len(trees) == len(components) and all(
                tree is not None and same_value(tree, part) for tree, part in zip(trees, components, strict=True)
            )
        return None if one.brackets in ("()", "[]") and len(one.items) == 1 else False
    if a.brackets == "{}" or b.brackets == "{}":
        items = [list({squeezed(item): item for item in one.items}.values()) for one in (a, b)]
        return a.brackets == b.brackets and _match(items[0], items[1], depth)
    round_or_square = len(a.items) != 2 and {a.brackets, b.brackets} <= {"()", "[]"}
    if len(a.items) != len(b.items) or (a.brackets != b.brackets and not round_or_square):
        return False
    return None if len(a.items) == 1 else _all_same(a.items, b.items, depth)


def _units(gold: str, answer: str, depth: int) -> bool | None:
    left, unit = split_unit(gold)
    right, other = split_unit(answer, unit)
    if other and not unit:
        left, unit = split_unit(gold, other)
    if not unit and not other:
        return None
    if unit and other:
        ratio = factor(other, unit)
        if ratio is None:
            return False
        return _same(left, right if ratio == 1 else f"({right})*({ratio})", depth + 1)
    symbols = {name for name, _ in unit_of(unit or other)}
    percent = (f"({left})/100", right) if unit else (left, f"({right})/100")
    if "%" in symbols and (small := rational(right if unit else left)) is not None and 0 < abs(small) < 1:
        return _same(*percent, depth + 1)  # a bare 0.04 is 4%, not 0.04%
    if _same(left, right, depth + 1):
        return True
    if "%" in symbols:
        return _same(*percent, depth + 1)
    if "deg" in symbols and "\\pi" in left + right:
        return _same(*((f"({left})*\\pi/180", right) if unit else (left, f"({right})*\\pi/180")), depth + 1)
    return False if symbols & STRICT else None


LAYERS = (
    _spelt, _kinds, _cases, _sets, _parameters, _logic, _named, _lists, _relations, _matrices, _brackets, _units,
)  # fmt: skip
