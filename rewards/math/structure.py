r"""The shape around expressions: lists, brackets, unions, equations and inequalities, found in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rewards.math.numbers import NUMBER
from rewards.math.parse import parse, tree_of
from rewards.math.trees import Tree
from rewards.math.units import split_unit
from rewards.math.value import constant

SIGN = re.compile(r"\\(?:le|ge|ne|approx|in|to|equiv|sim|mapsto|Rightarrow|implies)(?![a-zA-Z])|[<>=]")
TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "=": "=", "\\ne": "\\ne"}
SEPARATOR = re.compile(r"[,;]?\s*\x01\s*(?:,\s*)?(?:and|or)\s*\x02|[,;]?\s*(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|[,;]")
LISTING = re.compile(r"[,;]|pm|mp|or|and")
LAND, LOR = re.compile(r"\\land(?![a-zA-Z])"), re.compile(r"\\lor(?![a-zA-Z])")
CUP = re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]])\s*[uU]\s*(?=[(\[])")
COORDINATE = r"(?:[a-zA-Z]{1,2}|\\[a-zA-Z]+\s*)(?:\s*_\s*(?:\{\s*\w+\s*\}|\w))?"
NAME = re.compile(
    "|".join((
        r"[a-zA-Z]{1,3}'{0,3}",  # x, AB, y''
        r"[a-zA-Z]'{0,3}\s*\(\s*[\w,\s]+\s*\)",  # f(x), f'(x)
        r"[a-zA-Z]\s*\^\s*\{\s*-\s*1\s*\}\s*\(\s*\w\s*\)",  # f^{-1}(x)
        r"[a-zA-Z]\s*_\s*(?:\{\s*\w+\s*\}|\w)",  # a_n
        r"\\[a-zA-Z]+",  # \theta
        r"(?:m\s*)?\\(?:angle|triangle)\s*[A-Z]{1,3}",
        r"\\frac\s*\{\s*d[a-z]\s*\}\s*\{\s*d[a-z]\s*\}",
        r"\|\s*[a-zA-Z]{1,2}\s*\|",  # |z|, |AB|
        r"[a-zA-Z](?:\s*\+\s*[a-zA-Z])+",  # m + n
        r"\\(?:overline|bar|lim|int|sum|prod|det)(?![a-zA-Z]).*",
        rf"\(\s*{COORDINATE}(?:\s*,\s*{COORDINATE})+\s*\)",  # (x, y), (r, \theta), (x_1, x_2), (AB, CD)
        r"\x01[^\x01\x02]+\x02|[a-zA-Z]['a-zA-Z ]{3,40}",  # words
        r"[a-zA-Z]{1,3}(?:_\{?\w\}?)?(?:\s*:\s*[a-zA-Z]{1,3}(?:_\{?\w\}?)?)+",  # V_1 : V_2, AB : BC
    ))
)  # fmt: skip
NOT_NAMES = {"e", "i", "\\pi", "\\infty", "\\emptyset"}


@dataclass(frozen=True)
class Bracketed:
    """`(1, 2]`: brackets `(]`, items `1` and `2`."""

    brackets: str
    items: list[str]


@dataclass(frozen=True)
class Relation:
    """`a < b = c`: parts a, b, c and signs <, =."""

    parts: list[str]
    signs: list[str]

    @property
    def named(self) -> bool:
        """`x = ...`, `f(x) = ... = ...`: the left side only names the answer."""
        name = strip_outer(self.parts[0])
        return set(self.signs) <= {"=", "\\in"} and NAME.fullmatch(name) is not None and name not in NOT_NAMES

    def turned(self) -> Relation:
        return Relation(self.parts[::-1], [TURNED.get(sign, sign) for sign in self.signs[::-1]])

    def difference(self) -> Tree:
        """Left minus right of a relation with one sign."""
        return ("add", parse(self.parts[0]), ("neg", parse(self.parts[1])))


def _depths(text: str) -> list[int]:
    """The bracket depth before each character; any of ( [ { opens, any of ) ] } closes (intervals mix them)."""
    depths, depth = [], 0
    for char in text:
        if char in ")]}":
            depth -= 1
        depths.append(depth)
        if char in "([{":
            depth += 1
    return depths


def _split(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[str]]:
    depths = _depths(text)
    parts, found, start = [], [], 0
    for match in pattern.finditer(text):
        if depths[match.start()] == 0:
            parts.append(text[start : match.start()].strip())
            found.append(match[0])
            start = match.end()
    parts.append(text[start:].strip())
    return parts, found


@lru_cache(maxsize=1024)
def _listed(text: str) -> tuple[str, ...]:
    parts, _ = _split(_logical(text), SEPARATOR)
    items = [part for i, part in enumerate(parts) if part or 0 < i < len(parts) - 1 or len(parts) == 1]
    if ("\\pm" in text or "\\mp" in text) and len(text) < 300:
        # signs of several equations may belong together: x = \pm 1, y = \mp 1
        return tuple(
            one for item in items for one in (_both_signs(item) if len(items) == 1 or "=" not in item else (item,))
        )
    return tuple(items)


def _both_signs(item: str) -> tuple[str, ...]:
    if "\\pm" not in item and "\\mp" not in item:
        return (item,)
    upper = item.replace("\\pm", "+").replace("\\mp", "-")
    lower = item.replace("\\pm", "-").replace("\\mp", "+")
    return upper.lstrip("+ "), lower.lstrip("+ ")


def _logical(text: str) -> str:
    """`x = 1 \\lor x = 2` in words; `p \\lor q` is a formula and stays."""
    if "\\l" not in text:
        return text
    for sign, word in ((LOR, "or"), (LAND, "and")):
        parts, found = _split(text, sign)
        if found and all(SIGN.search(part) for part in parts):
            text = f"\x01{word}\x02".join(parts)
    return text


def says_or(text: str) -> bool:
    """Whether the items of a list are alternatives."""
    return "or" in text and any("or" in found for found in _split(_logical(text), SEPARATOR)[1])


def split_at(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The parts between matches of a pattern outside brackets."""
    return _split(text, pattern)[0] if pattern.search(text) is not None else [text]


def split_top(text: str, *, cup: bool = False) -> list[str]:
    """Items between commas, semicolons, "and", "or" outside brackets; `a \\pm b` is two. With `cup`: union members."""
    if cup:
        return _split(text, CUP)[0] if "cup" in text or "U" in text or "u" in text else [text]
    return list(_listed(text)) if LISTING.search(text) is not None else [text]


def bracketed(text: str) -> Bracketed | None:
    """The outer brackets and the items inside, where one pair encloses the whole text."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        inner, brackets = text[2:-2], "{}"
    elif text[:1] == "{" and text[-1:] == "}" and "," in text:
        inner, brackets = text[1:-1], "{}"
    elif text[:1] in ("(", "[") and text[-1:] in (")", "]") and len(text) > 2:
        inner, brackets = text[1:-1], text[0] + text[-1]
    else:
        return None
    depths = _depths(inner)
    if depths and min(depths) < 0:
        return None
    return Bracketed(brackets, split_top(inner))


def tuple_items(text: str) -> list[str] | None:
    """The items of `(1, 2)` or `[1, 2]`."""
    inside = bracketed(text)
    return inside.items if inside is not None and inside.brackets in ("()", "[]") else None


def strip_outer(text: str) -> str:
    """Without parentheses or braces around a single item, however many."""
    text = text.strip()
    if len(text) < 3 or text[0] + text[-1] not in ("()", "{}"):
        return text
    closing = _closing(text)
    start, end = 0, len(text)
    outer = start, end
    while end - start > 2 and text[start] + text[end - 1] in ("()", "{}") and closing.get(start) == end - 1:
        outer = start, end
        start, end = start + 1, end - 1
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
    inner = text[start:end]
    listed = len(split_top(inner)) > 1 and "\\begin" not in inner
    return text[outer[0] : outer[1]] if listed else inner


def _closing(text: str) -> dict[int, int]:
    """Where the bracket that opens here closes, of whatever kind (intervals mix them)."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for i, char in enumerate(text):
        if char in "([{":
            opened.append(i)
        elif char in ")]}" and opened:
            closing[opened.pop()] = i
    return closing


LEADING_WORDS = re.compile(
    r"^\x01[^\x01\x02]*\b(?:integers?|reals?|numbers?|values?|all|that|equation|is)\b[^\x01\x02]*\x02\s*(?=\S)"
)
FORALL = re.compile(
    r"\s*,?\s*(?:\x01\s*,?\s*(?:for (?:all|every|any|each))\b.*|\\forall.*|(?<=\s)for (?:all|every|any|each)\s.*)$",
    re.DOTALL,
)
ON_THE_REALS = re.compile(  # f(x) = 2x, x \in \R
    r"(?P<rule>\s*[a-zA-Z]\s*\(\s*(?P<name>[a-zA-Z])\s*\)\s*=.*?)\s*[,;(]?\s*(?P=name)\s*\\in\s*\\R\s*\)?\s*", re.DOTALL
)


@lru_cache(maxsize=1024)
def relation(text: str) -> Relation | None:
    """The equation or inequality chain; approximations after an exact value are dropped (`x = 1/3 \\approx 0.3`)."""
    if SIGN.search(text) is None:
        return None
    text = FORALL.sub("", LEADING_WORDS.sub("", text))
    parts, signs = _split(text, SIGN)
    if not signs:
        return None
    if "\\approx" in signs:
        cut = signs.index("\\approx")
        if cut == 0 and not _near(parts[0], parts[1]):  # `x = 1/3 \\approx ...` has said its value before
            return Relation(parts, ["?"])
        if cut == 0 and NAME.fullmatch(parts[0]):
            signs[0] = "="
        else:
            parts, signs = parts[: cut + 1], signs[:cut]
    if "\\in" in signs and signs != ["\\in"]:
        return Relation(parts, ["?"])
    return Relation(parts, signs) if signs else Relation(["x", parts[0]], ["="])


def _near(exact: str, approximate: str) -> bool:
    """Whether one number may be said for another: rounded to the digits it shows, or within a percent."""
    (value, unit), (number, other) = split_unit(exact), split_unit(approximate)
    a, b = (None if (tree := tree_of(text)) is None else constant(tree) for text in (value, number))
    if a is None or b is None or (unit != other and (unit or other == "%")):
        return True  # 1/2 is about 50%, 42 cm about 16.5 in
    half = Fraction(1, 2 * 10 ** len(number.strip().partition(".")[2])) if NUMBER.fullmatch(number.strip()) else 0
    return bool(abs(a - b) <= max(abs(a) / 100, float(half)))


def as_interval(found: Relation) -> str | None:
    """`a < x <= b` and `x < b` as an interval, for one variable in the middle or on the left."""
    if not found.signs or not set(found.signs) <= {"<", ">", "\\le", "\\ge"}:
        return None
    if len(found.signs) == 1:
        if not found.parts[0].isalpha():
            found = found.turned()
        bound, strict = found.parts[1], found.signs[0] in "<>"
        if not found.parts[0].isalpha():
            return None
        if found.signs[0] in ("<", "\\le"):
            return f"(-\\infty ,{bound}{')' if strict else ']'}"
        return f"{'(' if strict else '['}{bound},\\infty )"
    if len(found.signs) != 2 or not found.parts[1].isalpha():
        return None
    if found.signs[0] in (">", "\\ge"):
        found = found.turned()
    if not set(found.signs) <= {"<", "\\le"}:
        return None
    left, right = ("(" if found.signs[0] == "<" else "["), (")" if found.signs[1] == "<" else "]")
    return f"{left}{found.parts[0]},{found.parts[2]}{right}"


CASES = re.compile(
    r"(?P<name>[^=]{0,40}=)?\s*(?:\\\{)?\s*\\begin\s*\{(?P<kind>d?cases|aligned|align\*?|array|gathered|split)\}"
    r"(?:\s*\{[lcr| ]*\})?(?P<body>.*)\\end\s*\{(?P=kind)\}\s*",
    re.DOTALL,
)
CONDITION_WORDS = re.compile(r"(?<![a-z])(?:if|for|when|where)(?![a-z])")


def rows_of_cases(text: str) -> list[list[str]] | None:
    """The rows of a `cases` environment (or of one like it): value and condition, or one equation each."""
    found = CASES.fullmatch(text)
    if found is None or "\\begin" in found["body"]:
        return None
    kind = found["kind"]
    if kind == "array" and "{" not in text[: found.start("kind") - 7]:  # without the opening brace it is a matrix
        return None
    rows = []
    for row in found["body"].split("\x03"):
        cells = [cell.strip().rstrip(",;.").strip() for cell in row.split("&")]
        if kind not in ("cases", "dcases", "array"):
            cells = ["".join(cells)]
        cells[1:] = [
            CONDITION_WORDS.sub(" ", cell).replace("\x01", " ").replace("\x02", " ").strip() for cell in cells[1:]
        ]
        if any(cells):
            rows.append(cells)
    return rows or None
