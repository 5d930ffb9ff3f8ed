"""The cheapest layer: integers, decimals, fractions, mixed numbers, repeating decimals, read without a parser."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

NUMBER = re.compile(r"[-+]?\s*(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})")
SLASHED = re.compile(r"([-+]?)\s*(?:(\d{1,400})\s+)?(\d{1,400})\s*/\s*(\d{1,400})")
FRAC = re.compile(
    r"([-+]?)\s*(\d{1,400})?\s*\\frac\s*(?:\{\s*(-?\d{1,400})\s*\}|(\d))\s*(?:\{\s*(-?\d{1,400})\s*\}|(\d))"
)
REPEATING = re.compile(
    r"(-?)(\d{0,50})\.(\d{0,50})(?:\\(?:overline|bar|dot)\s*(?:\{(\d{1,50})\}|\s*(\d))|\((\d{1,50})\))(?:\.\.\.)?"
)
DOTTED = re.compile(r"(-?)(\d{0,50})\.(\d{3,60})\.\.\.")
BASED = re.compile(
    r"\(?([0-9A-F]{1,200}|\d[0-9a-f]{0,199})\)?\s*_\s*"
    r"(?:\{\s*\x01?\(?\s*(?:base[-_ ]?\x02?)?\s*(\d{1,2})\s*\)?\x02?\s*\}|(\d{1,2}))"
)
BASE_WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
              "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip
BASE_WORD = re.compile(rf"_\s*\{{?\s*\x01?\s*({'|'.join(BASE_WORDS)})\s*\x02?\s*\}}?")
SCIENTIFIC = re.compile(r"([-+]?\d{1,40})\.(\d{1,40})\s*\*\s*10\s*\^\s*\{?\s*(-?\d{1,4})\s*\}?")


@lru_cache(maxsize=4096)
def rational(text: str) -> Fraction | None:
    """The exact value of an integer, decimal, fraction, mixed number or repeating decimal; else None."""
    if NUMBER.fullmatch(text):
        return Fraction(text.replace(" ", "").rstrip("."))
    if (found := SLASHED.fullmatch(text)) or (found := FRAC.fullmatch(text)):
        return _fraction(found)
    if found := REPEATING.fullmatch(text):
        return _repeating(found[1], found[2], found[3], found[4] or found[5] or found[6])
    if (found := DOTTED.fullmatch(text)) and (cycle := _cycle(found[3])) is not None:
        return _repeating(found[1], found[2], found[3][: len(found[3]) - len(cycle)], cycle)
    return None


def _fraction(found: re.Match[str]) -> Fraction | None:
    groups = [group for group in found.groups()[2:] if group is not None]
    top, bottom = int(groups[0]), int(groups[1])
    if bottom == 0:
        return None
    if found[2] is not None and not 0 <= top < bottom:
        return None
    value = int(found[2] or 0) + Fraction(top, bottom)
    return -value if found[1] == "-" else value


def _repeating(sign: str, whole: str, head: str, cycle: str) -> Fraction:
    scale = 10 ** len(head)
    value = int(whole or 0) + Fraction(int(head or 0), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return -value if sign else value


def _cycle(digits: str) -> str | None:
    """The cycle that `333`, `1616`, `142857142857` show: seen twice at the end, or three times if a single digit."""
    for length in range(1, len(digits) // 2 + 1):
        cycle = digits[-length:]
        if digits.endswith(cycle * (3 if length == 1 else 2)):
            return cycle
    return None


IN_BASE = re.compile(
    r"([0-9A-F]{1,200})\s*\(?\s*(?:in\s*)?\x01?\s*\(?\s*(?:in\s*)?base\s*[-_]?\s*\x02?\s*(\d{1,2})\s*\x02?\s*\)?\s*\x02?"
)


def same_based(gold: str, answer: str) -> bool | None:
    """`1011_2`: the same base (or none given) and the same digits, or the same number in two bases."""
    gold, answer = (BASE_WORD.sub(lambda found: "_" + BASE_WORDS[found[1]], text) for text in (gold, answer))
    gold, answer = IN_BASE.sub(r"\1_\2", gold), IN_BASE.sub(r"\1_\2", answer)
    a, b = _based(gold), _based(answer)
    if a is None and b is None:
        return None
    if a is None or b is None:
        digits = (a or b)[0]  # type: ignore[index]
        return digits == re.sub(r"\s", "", answer if a is not None else gold).upper()
    if a[1] == b[1]:
        return a[0].lstrip("0") == b[0].lstrip("0")
    try:
        return int(a[0], a[1]) == int(b[0], b[1])
    except ValueError:
        return False


def _based(text: str) -> tuple[str, int] | None:
    """Digits and base; small letters are digits only in a base that has letters: `2a_{16}`, not `2a_1`."""
    found = BASED.fullmatch(text)
    if found is None:
        return None
    base = int(found[2] or found[3])
    if base < 2 or (found[1].isalpha() and base <= 10):
        return None  # `C_1`, `A_5`: a letter with an index
    return (found[1].upper(), base) if base > 10 or not re.search("[a-f]", found[1]) else None


def rounded(text: str) -> tuple[Fraction, int] | None:
    """A decimal with two decimals or three significant digits: its value and how many decimals it has.

    Only such a number is taken for a rounded one: 0.67 and 113.1, not 2.5. `2.315 * 10^{-3}` has six decimals.
    """
    shift = 0
    if found := SCIENTIFIC.fullmatch(text):
        text, shift = f"{found[1]}.{found[2]}", int(found[3])
    if not NUMBER.fullmatch(text) or "." not in text:
        return None
    digits = text.partition(".")[2].strip()
    significant = len(text.replace(".", "").lstrip("-+ 0"))
    if significant < 2 or (len(digits) < 2 and significant < 3) or abs(shift) > 400:
        return None
    return Fraction(text.replace(" ", "")) * Fraction(10) ** shift, len(digits) - shift


def rounded_from(gold: str, answer: str, value: Fraction) -> bool:
    """Whether a decimal gold is a fraction rounded; one that ends, like 1/8, would have been written out."""
    if "." not in gold or "." in answer or 10**64 % value.denominator == 0:
        return False
    decimal = rounded(gold)
    return decimal is not None and abs(value - decimal[0]) <= Fraction(1, 2) / 10 ** decimal[1]
