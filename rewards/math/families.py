r"""Answers that stand for many numbers: residues (`x \equiv 3 \pmod 7`), integer parameters (`k\pi`), `+ C`."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rewards.math.approximate import context
from rewards.math.exact import Exact, Inexact, Undefined
from rewards.math.normal import squeezed
from rewards.math.parse import tree_of
from rewards.math.structure import relation, split_top
from rewards.math.trees import Tree, replaced
from rewards.math.value import constant, linear, same_value, variables

MODULUS = re.compile(
    r"(?P<value>.*?)\s*,?\s*\(?\s*(?:\\pmod|\\bmod|\\mod|\x01?\s*mod(?:ulo)?\s*\x02?)\s*\{?\s*(?P<modulus>\d{1,40})\s*\}?\s*\)?",
    re.DOTALL,
)
CONGRUENT = re.compile(r"^\s*[a-zA-Z](?:_\w)?\s*(?:\\equiv|=)\s*")
NAMES = r"(?<![a-zA-Z\\])(?P<names>[a-zA-Z](?:\s*,\s*[a-zA-Z])*)\s*"
KIND = r"(?P<kind>(?:positive |non-?negative |negative |odd |even |)integer|natural number)s?"
PARAMETERS = (
    re.compile(  # k \in \Z, where k is an integer
        r"\s*,?\s*\(?\s*\x01?\s*(?:,\s*)?(?:where|with|and|for(?: all| any| some| every| each)?)?"
        r"\s*(?:integers?)?\s*\x02?\s*" + NAMES + r"(?:\\in\s*\\?(?P<set>[ZN](?![a-zA-Z])\s*(?:\^\s*\{?\+\}?)?)"
        rf"|\x01?\s*(?:is|are|being)?\s*(?:an|any|a)?\s*(?:arbitrary )?{KIND}\s*\x02?)\s*\)?\s*$"
    ),
    re.compile(  # for all integers k
        rf"\s*,?\s*\(?\s*\x01?\s*(?:,\s*)?for\s+(?:(?:all|any|some|every|each|an)\s+)?{KIND}\s*\x02?\s*{NAMES}\x02?\s*\)?\s*$"
    ),
)
INTEGER_NAMES = {"k", "n", "m", "l"}
RANGE = re.compile(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")
MOST_FAMILIES = 12
CONSTANT_NAMES = {"C", "c", "K", "C_1", "c_1"}


def same_residue(gold: str, answer: str) -> bool | None:
    """Congruences of one modulus; a residue alone answers a gold that names its modulus in lowest terms."""
    a, b = _residue(gold) or _progression(gold), _residue(answer) or _progression(answer)
    if a is None or b is None or (a[1] is None and b[1] is None):
        return None
    if a[1] is not None and b[1] is not None:
        return a[1] == b[1] and {r % a[1] for r in a[0]} == {r % a[1] for r in b[0]}
    return a[0] == b[0]


def _residue(text: str) -> tuple[set[int], int | None] | None:
    found = MODULUS.fullmatch(text.strip())
    value = CONGRUENT.sub("", found["value"] if found is not None else text)
    residues = re.findall(r"-?\d{1,40}", value)
    if not residues or re.fullmatch(r"[-\d,\s\x01\x02]*(?:(?:or|and)[-\d,\s\x01\x02]*)*", value) is None:
        return None
    modulus = int(found["modulus"]) if found is not None else None
    return (set(map(int, residues)), modulus) if modulus != 0 else None


def _progression(text: str) -> tuple[set[int], int | None] | None:
    r"""`x = 5k + 2, k \in \Z` as the residue 2 of 5."""
    core, names, domain = without_parameter(text)
    tree = tree_of(CONGRUENT.sub("", core))
    if tree is None or domain not in ("", "Z") or len(variables(tree)) != 1:
        return None
    (name,) = variables(tree)
    line = linear(tree, name, {}) if name in names or (not names and name in INTEGER_NAMES) else None
    if line is None:
        return None
    root, slope = line
    start = -root * slope
    return ({int(start)}, abs(int(slope))) if slope.denominator == start.denominator == 1 else None


def without_parameter(text: str) -> tuple[str, set[str], str]:
    r"""`k\pi, k \in \Z` to `k\pi`, `{"k"}` and `"Z"`, the numbers it runs through."""
    declared = "in" in text or "natural" in text
    found = next((match for one in PARAMETERS if (match := one.search(text))), None) if declared else None
    if found is None:
        return text, set(), ""
    names, start = re.findall(r"[a-zA-Z]", found["names"]), found.start()
    if len(set(names)) < len(names):  # `\pi n, n \in \Z`: the first n belongs to the value
        last = names[-1]
        start = text.rindex(",", found.start("names"), found.end("names"))
        if last in names[names.index(last) + 1 : -1]:
            return text, set(), ""
        names = [last]
    core = text[:start].rstrip(" ,(")
    if core.count("(") > core.count(")"):  # (k\pi, k \in \Z)
        core = core.lstrip(" (")
    if not core:
        return text, set(), ""
    said = re.sub(r"[\s{}]", "", found.groupdict().get("set") or "") or found["kind"]
    return core, set(names), {"integer": "Z", "natural number": "N"}.get(said, said)


def same_parameters(gold: str, answer: str, same: Callable[[str, str], bool]) -> bool | None:
    """`k\\pi, k \\in \\Z`: the values for all integers; `\\pm` and lists of them one by one, tuples by letter."""
    if "in" not in gold + answer and "natural" not in gold + answer:
        return None
    (mine, first, domain), (theirs, second, other) = (without_parameter(text) for text in (gold, answer))
    if not first and not second:
        return None
    if domain and other and domain != other:
        return False
    if not (first and second) and not (first | second) <= INTEGER_NAMES and RANGE.search(mine + theirs):
        return False  # `x < 1, x \in \Z` is no interval
    (names, left), (others, right) = _values(mine), _values(theirs)
    if len(names | others) > 1 or len(left) != len(right) or len(left) > MOST_FAMILIES:
        return None
    if len(left) == 1 and None in (tree_of(left[0]), tree_of(right[0])):
        return same(mine, _relettered(theirs, second, first)) or None
    whole = first | second
    for value in left:
        hit = next((one for one in right if same_family(value, one, whole, shifts={domain, other} <= {"", "Z"})), None)
        if hit is None:
            return None
        right.remove(hit)
    return True


def _values(text: str) -> tuple[set[str], list[str]]:
    """The variables named, and the values."""
    names, values = set(), []
    for item in split_top(text):
        found = relation(item)
        if found is not None and found.named:
            names.add(squeezed(found.parts[0]))
            item = found.parts[-1]
        values.append(item)
    return names, values


def _relettered(text: str, declared: set[str], wanted: set[str]) -> str:
    """With the other side's letter for the parameter, where there is one on each side and it is free."""
    if len(declared) != 1 or len(wanted) != 1 or declared == wanted:
        return text
    (old,), (new,) = declared, wanted
    alone = r"(?<![a-zA-Z\\]){}(?![a-zA-Z])"
    return text if re.search(alone.format(new), text) else re.sub(alone.format(old), new, text)


def same_family(gold: str, answer: str, declared: set[str], *, shifts: bool = True) -> bool | None:
    r"""Values for all integers k, up to the letter and where k starts; expressions up to the letter of `+ C`.

    `declared`: the letters said to be integers. `shifts`: where k starts does not matter, as it runs through them all.
    """
    a, b = tree_of(gold), tree_of(answer)
    if a is None or b is None:
        return None
    only_a, only_b = variables(a) - variables(b), variables(b) - variables(a)
    if not only_a and not only_b:
        names = declared & variables(a)
        return bool(names) and (same_value(a, b) or (shifts and len(names) == 1 and _shifted(a, b, *names, *names)))
    if len(only_a) != 1 or len(only_b) != 1:
        return None
    (mine,), (theirs,) = only_a, only_b
    if mine in CONSTANT_NAMES and theirs in CONSTANT_NAMES | {"A", "B"} and len(variables(a)) > 1:
        return same_value(a, replaced(b, {("var", theirs): ("var", mine)}))
    whole = declared & {mine, theirs} or (mine in INTEGER_NAMES and "\\pi" in gold)
    if not whole or theirs not in INTEGER_NAMES | declared:
        return None
    renamed = replaced(b, {("var", theirs): ("var", mine)})
    return same_value(a, renamed) or (shifts and _shifted(a, b, mine, theirs))


def _shifted(a: Tree, b: Tree, mine: str, theirs: str) -> bool:
    """Whether a(k) and b(k) are arithmetic progressions over the same numbers."""
    if variables(a) != {mine} or variables(b) != {theirs}:
        return False
    starts = [[_at(tree, name, k) for k in (0, 1, 2)] for tree, name in ((a, mine), (b, theirs))]
    if any(value is None for row in starts for value in row):
        return False
    mp, small = context(), context().mpf(10) ** -40
    steps = [row[1] - row[0] for row in starts]
    if any(abs(row[2] - row[1] - step) > small for row, step in zip(starts, steps, strict=True)) or steps[0] == 0:
        return False
    offset = (starts[0][0] - starts[1][0]) / steps[0]
    return bool(abs(abs(steps[0]) - abs(steps[1])) <= small and abs(offset - mp.nint(offset)) <= small)


def _at(tree: Tree, name: str, k: int) -> Any:
    try:
        value = Exact({name: Fraction(k)}).value(tree)
        return context().mpf(value.numerator) / value.denominator
    except (Inexact, Undefined):
        return constant(replaced(tree, {("var", name): ("num", Fraction(k))}))
