r"""The shape around expressions: lists, brackets, unions, matrices, equations and inequalities, found in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rewards.math.parse import Tree, parse

SIGN = re.compile(r"\\(?:le|ge|ne|approx|in|to|equiv|sim|mapsto|Rightarrow|implies)(?![a-zA-Z])|[<>=]")
TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "=": "=", "\\ne": "\\ne"}
SEPARATOR = re.compile(r"[,;]|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\x01\s*(?:,\s*)?(?:and|or)\s*\x02")
LISTING = re.compile(r"[,;]|pm|mp|or|and")
CUP = re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]])\s*[uU]\s*(?=[(\[])")
NAME = re.compile(r"[a-zA-Z]{1,3}'?|\\[a-zA-Z]+|[a-zA-Z]\s*_\s*(?:\{\s*\w+\s*\}|\w)|[a-zA-Z]\s*\(\s*[\w,\s]+\s*\)"
                  r"|\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\)|\x01[^\x01\x02]+\x02|[a-zA-Z]['a-zA-Z ]{3,40}"
                  r"|[a-zA-Z](?:_\{?\w\}?)?\s*:\s*[a-zA-Z](?:_\{?\w\}?)?")  # fmt: skip
NOT_NAMES = {"e", "i", "\\pi", "\\infty", "\\emptyset"}
MATRIX = re.compile(r"\\begin\s*\{([a-zA-Z]*matrix|array)\}(?:\s*\{[lcr| ]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)


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
        name = self.parts[0].strip()
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
    parts, _ = _split(text, SEPARATOR)
    items = [part for i, part in enumerate(parts) if part or 0 < i < len(parts) - 1 or len(parts) == 1]
    if len(items) == 1 and ("\\pm" in text or "\\mp" in text) and len(text) < 300:
        upper = text.replace("\\pm", "+").replace("\\mp", "-")
        lower = text.replace("\\pm", "-").replace("\\mp", "+")
        return upper.lstrip("+ "), lower.lstrip("+ ")
    return tuple(items)


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


def strip_outer(text: str) -> str:
    """Without parentheses or braces around a single item, however many."""
    text = text.strip()
    while len(text) > 2 and text[0] + text[-1] in ("()", "{}"):
        inner = text[1:-1]
        depths = _depths(inner)
        if min(depths) < 0 or (len(split_top(inner)) > 1 and not matrix(inner)):
            return text
        text = inner.strip()
    return text


@lru_cache(maxsize=1024)
def relation(text: str) -> Relation | None:
    """The equation or inequality chain; approximations after an exact value are dropped (`x = 1/3 \\approx 0.3`)."""
    if SIGN.search(text) is None:
        return None
    parts, signs = _split(text, SIGN)
    if not signs:
        return None
    if "\\approx" in signs:
        cut = signs.index("\\approx")
        if cut == 0 and NAME.fullmatch(parts[0]):
            signs[0] = "="
        else:
            parts, signs = parts[: cut + 1], signs[:cut]
    if "\\in" in signs and signs != ["\\in"]:
        return Relation(parts, ["?"])
    return Relation(parts, signs) if signs else Relation(["x", parts[0]], ["="])


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


@lru_cache(maxsize=256)
def matrix(text: str) -> tuple[str, list[list[str]]] | None:
    """`("matrix" or "determinant", rows)` where the whole text is one matrix."""
    if "\\begin" not in text:
        return None
    found = MATRIX.fullmatch(text.strip())
    if found is None or "\\begin" in found[2]:
        return None
    kind = "determinant" if found[1] in ("vmatrix", "Vmatrix") else "matrix"
    rows = [[cell.strip() for cell in row.split("&")] for row in found[2].split("\x03") if row.strip()]
    return kind, rows
