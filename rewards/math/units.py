r"""Units, percent signs and currency behind or before a number: `10 cm`, `45^\circ`, `28%`, `$5`."""

from __future__ import annotations

import re

NAMES = {
    "meter": "m", "metre": "m", "centimeter": "cm", "centimetre": "cm", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd", "mile": "mi",
    "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h", "day": "day", "week": "week", "month": "month",
    "year": "year", "dollar": "$", "cent": "cent", "degree": "deg", "gram": "g", "kilogram": "kg", "pound": "lb",
    "lb": "lb", "liter": "l", "litre": "l", "percent": "%", "percentage": "%", "unit": "unit", "mph": "mph",
    "square unit": "unit^2", "cubic unit": "unit^3",
}  # fmt: skip
SHORT = {
    "m", "cm", "mm", "km", "in", "ft", "yd", "mi", "s", "ms", "min", "h", "g", "kg", "mg", "l", "ml", "mph", "kph",
    "deg", "rad",
}  # fmt: skip
POWER = r"(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
MARKED = re.compile(
    r"^(?P<core>.*[\d})\x02a-z])\s*\x01(?P<unit>[^\x01\x02]*[a-zA-Z][^\x01\x02]*)\x02(?P<power>" + POWER + r")$",
    re.DOTALL,
)
PLAIN = re.compile(r"^(?P<core>.*[\d})])\s*(?P<unit>[a-zA-Z][a-zA-Z/ ]*)(?P<power>" + POWER + r")$", re.DOTALL)
SIGN = re.compile(r"^(?P<core>.*?[\d})])\s*(?P<unit>%|\^\s*\\circ|\\pounds|€)(?:\s*(?:\x01?[CF]\x02?))?$", re.DOTALL)
NO_UNIT = re.compile(r"(?:^|[^a-z])(?:sin|cos|tan|log|ln|exp|sqrt|pi|or|and|mod|to|times|over|if|is|not|x|y)(?![a-z])")


def split_unit(text: str) -> tuple[str, str]:
    """`("10", "cm")` of a normalised `10 cm`; the unit is "" without any and has one spelling (singular, short)."""
    text = re.sub(r"^[$€£]\s*", "", text.strip())
    sign = SIGN.match(text)
    if sign is not None:
        return sign["core"].strip(), "%" if sign["unit"] == "%" else "deg" if "circ" in sign["unit"] else "$"
    marked = MARKED.match(text)
    if marked is not None:
        return marked["core"].strip(), _name(marked["unit"], marked["power"])
    plain = PLAIN.match(text)
    if plain is not None and _is_unit(plain["unit"], spaced=text[plain.end("core")] == " "):
        return plain["core"].strip(), _name(plain["unit"], plain["power"])
    return text, ""


def _is_unit(word: str, *, spaced: bool) -> bool:
    word = word.strip().lower()
    if NO_UNIT.search(word) is not None:
        return False
    return _singular(word) in NAMES or (word in SHORT and len(word) > 1) or (spaced and len(word) >= 4)


def _name(unit: str, power: str) -> str:
    words = re.sub(r"\s+", " ", unit.strip(" .").lower())
    exponent = re.sub(r"\D", "", power)
    for prefix, implied in (("square ", "2"), ("sq ", "2"), ("sq. ", "2"), ("cubic ", "3"), ("cu ", "3")):
        if words.startswith(prefix):
            words, exponent = words[len(prefix) :], implied
    name = NAMES.get(_singular(words), words if words in SHORT else _singular(words))
    return f"{name}^{exponent}" if exponent and name != "unit" else name


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and word not in SHORT else word
