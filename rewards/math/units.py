r"""Units, percent signs and currency behind or before a number: `10 cm`, `45^\circ`, `28%`, `$5`, `3 \text{ m/s}`."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

# symbol: (kind, size in the kind's own measure, other spellings). Units of one kind convert: 5 m is 500 cm.
TABLE: dict[str, tuple[str, Fraction, str]] = {
    "mm": ("length", Fraction(1, 1000), "millimeter millimetre"),
    "cm": ("length", Fraction(1, 100), "centimeter centimetre 厘米"),
    "m": ("length", Fraction(1), "meter metre 米"),
    "km": ("length", Fraction(1000), "kilometer kilometre 千米 公里"),
    "in": ("length", Fraction(254, 10000), "inch inche"),
    "ft": ("length", Fraction(3048, 10000), "foot feet"),
    "yd": ("length", Fraction(9144, 10000), "yard"),
    "mi": ("length", Fraction(1609344, 1000), "mile"),
    "ms": ("time", Fraction(1, 1000), "millisecond"),
    "s": ("time", Fraction(1), "second sec 秒"),
    "min": ("time", Fraction(60), "minute 分钟"),
    "h": ("time", Fraction(3600), "hour hr 小时"),
    "day": ("time", Fraction(86400), "天"),
    "week": ("time", Fraction(604800), "wk"),
    "month": ("month", Fraction(1), ""),
    "year": ("month", Fraction(12), "yr"),
    "mg": ("mass", Fraction(1, 10**6), "milligram"),
    "g": ("mass", Fraction(1, 1000), "gram gm 克"),
    "kg": ("mass", Fraction(1), "kilogram 千克 公斤"),
    "lb": ("mass", Fraction(45359237, 10**8), "pound"),
    "oz": ("mass", Fraction(45359237, 16 * 10**8), "ounce"),
    "ml": ("volume", Fraction(1, 1000), "milliliter millilitre"),
    "l": ("volume", Fraction(1), "liter litre 升"),
    "cent": ("money", Fraction(1, 100), "¢ \\cent"),
    "$": ("money", Fraction(1), "dollar usd buck"),
    "€": ("euro", Fraction(1), "euro eur"),
    "£": ("sterling", Fraction(1), "gbp"),
    "₹": ("rupee", Fraction(1), "rupee rs inr"),
    "¥": ("yuan", Fraction(1), "yuan rmb cny yen 元"),
    "rad": ("angle", Fraction(1), "radian"),
    "deg": ("degree", Fraction(1), "degree \\circ"),
    "°C": ("celsius", Fraction(1), "celsius"),
    "°F": ("fahrenheit", Fraction(1), "fahrenheit"),
    "N": ("force", Fraction(1), "newton"),
    "J": ("energy", Fraction(1), "joule"),
    "kJ": ("energy", Fraction(1000), "kj kilojoule"),
    "W": ("power", Fraction(1), "watt"),
    "Hz": ("frequency", Fraction(1), "hz hertz"),
    "Pa": ("pressure", Fraction(1), "pascal"),
    "V": ("voltage", Fraction(1), "volt"),
    "A": ("current", Fraction(1), "amp ampere"),
    "mol": ("amount", Fraction(1), "mole"),
    "%": ("percent", Fraction(1), "percent percentage pct \\%"),
    "unit": ("unit", Fraction(1), "un"),
}
NAMES = {name: symbol for symbol, (_, _, names) in TABLE.items() for name in (symbol, symbol.lower(), *names.split())}
WHOLE = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "fps": "ft/s"}
CURRENCY = re.compile(r"^([-+]?)\s*(?:US\s*)?([$€£₹¥]|USD|Rs\.?|Rupees)\s*(?=[-\d.\\])", re.IGNORECASE)
POWER = r"(?:\s*\^\s*(?:\{\s*-?[123]\s*\}|-?[123]))?"
LETTER = r"[^\W\d_]"  # of any alphabet
NAMED = "|".join(sorted((name for name in NAMES if name.isalpha()), key=len, reverse=True))
MARKED = re.compile(
    rf"^(?P<core>.*[\d}})\]\x02a-z])\s*\\?\s*\x01(?P<unit>[^\x01\x02]*(?:{LETTER}|[%°$€£¥])[^\x01\x02]*)\x02"
    rf"(?P<power>{POWER})(?P<more>(?:\s*(?:[*/]?\s*\x01[^\x01\x02]*\x02|[*/]\s*(?:{NAMED})(?!{LETTER})){POWER})*)$",
    re.DOTALL,
)
PLAIN = re.compile(rf"^(?P<core>.*[\d}})\]])\s*(?P<unit>{LETTER}+{POWER}(?:[./ ]+{LETTER}+{POWER})*[./ ]*)$", re.DOTALL)
PIECE = rf"\s*\x01?\s*[a-zA-Z]+{POWER}\s*\x02?{POWER}\s*"
FRACTION = re.compile(
    rf"^(?P<core>.*[\d}})])\s*\\frac\s*\{{(?P<top>{PIECE})\}}\s*\{{(?P<bottom>{PIECE})\}}$", re.DOTALL
)
COUNTED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,4}")  # 15人, 15个
NOT_COUNTED = re.compile("[不非无没否万亿千百十半余约或错加减乘除点折上下左右]|方$")
QUANTITY = r"(\d{1,30}(?:\.\d{1,30})?)\s*([a-zA-Z]+)\.?"
COMPOUND = re.compile(rf"\s*{QUANTITY}(?:\s*(?:and\s+)?{QUANTITY}){{1,4}}\s*")
SIGN = re.compile(
    r"^(?P<core>.*?[\d})i!])\s*(?P<unit>%|\x01\s*%\s*\x02|\^\s*\\circ|[€£₹$¢¥])(?P<scale>\s*(?:\x01?\s*[CF]\s*\x02?))?$",
    re.DOTALL,
)
NOT_UNITS = re.compile(  # words that make more of a number than a count of things
    r"(?<![a-z])(?:"
    r"sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|infty"
    r"|no|not|nor|none|never|isn|aren|wasn|doesn|cannot|can|is|are|was|were|be|or|and|either|neither|if|unless|but|except"
    r"|without|instead|rather|than|to|maybe|perhaps|possibly|probably|wrong|incorrect|false|unsure|sure|guess|wait|sorry|oops|mistake|correction|about"
    r"|approximately|roughly|nearly|almost|around|plus|minus|(?:more|less|fewer|greater)(?! [a-z]{3})"
    r"|least|most|over|under|above|below"
    r"|times(?!$)|divided|multiplied|added|subtracted|mod|modulo|remainder|root|squared|cubed|power|factorial|double"
    r"|twice|triple|half|halves|thirds?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|twelfths?"
    r"|(?:hundred|thousand|million)(?:ths?)?|billion|trillion|dozens?|am|pm|a\.m|p\.m|o'clock"
    r"|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|negative|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|[a-z]*teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    r")(?![a-z])"
)
VARIABLE = re.compile(r"(?<![a-zA-Z'])[a-z](?!['a-zA-Z.])")
FINAL_POWER = re.compile(r"(?<=[a-zA-Z.)])\s*(?:\^\s*)?(?:\{\s*-?[1-3]\s*\}|-?[1-3])(?=$|[\s*/.])")
CLOCK = re.compile(r"(\d{1,2}(?::[0-5]\d)*)\s*\x01?\s*([ap]\.?\s?m\.?)\s*\x02?", re.IGNORECASE)
ANGLED = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc|cis)(?![a-z])|[a-zA-Z]\s*[-+]")
WORD = re.compile(rf"((?:{LETTER}|[%°$€£₹¢¥\\])+)(2|3)?({POWER})\.?")

Unit = tuple[tuple[str, int], ...]


def split_unit(text: str, expected: str = "") -> tuple[str, str]:
    """`("10", "cm")` of a normalised `10 cm`; the unit is the text as written, "" without any.

    `expected` is the unit of the other answer: a single letter counts as a unit only where the other has it (`5 m`).
    """
    text = text.strip()
    if expected and (found := CLOCK.fullmatch(text)) is not None:
        return found[1], found[2]  # a time of day, not its hour, beside a quantity
    if (found := CURRENCY.match(text)) is not None:
        return (found[1] + text[found.end() :]).strip(), found[2]
    if (found := SIGN.match(text)) is not None:
        if "circ" in found["unit"]:
            if ANGLED.search(found["core"]):
                return text, ""  # the degrees of an angle inside an expression
            scale = (found["scale"] or "").strip("\x01\x02 ")
            return found["core"].strip(), {"C": "celsius", "F": "fahrenheit"}.get(scale, "degree")
        return found["core"].strip(), found["unit"].strip("\x01\x02 ")
    if (found := FRACTION.match(text)) is not None:
        unit = re.sub("[\x01\x02 ]", "", f"{found['top']}/{found['bottom']}")
        if is_known(unit):
            return found["core"].strip(), unit
    if (found := MARKED.match(text)) is not None:
        unit = (
            found["unit"].strip() + found["power"] + " " + found["more"].replace("\x01", " ").replace("\x02", " ")
        ).strip()
        return (found["core"].strip(), unit) if _is_quantity(unit) else (text, "")
    if (found := PLAIN.match(text)) is not None:
        spaced = text[found.end("core")] == " "
        if _is_unit(found["unit"], spaced=spaced) or (expected and factor(found["unit"], expected) is not None):
            return found["core"].strip(), found["unit"].strip()
    return text, ""


def _is_unit(text: str, *, spaced: bool) -> bool:
    word = text.strip()
    if not _is_quantity(word):
        return False
    if is_known(word.lower()):
        return len(word) > 1 or not word.isascii()
    if COUNTED.fullmatch(word):
        return NOT_COUNTED.search(word) is None
    return spaced and len(word) >= 4 and "^" not in word


def _is_quantity(unit: str) -> bool:
    """Whether the text behind a number only names what is counted: `cm`, `m/s^2`, `different ways`; not `plus 1`."""
    unit = FINAL_POWER.sub("", unit)
    if re.search(r"\d", unit) is not None:
        return False
    if re.search("[\u3040-\u30ff\u3400-\u9fff]", unit) and NOT_COUNTED.search(unit):
        return is_known(unit)
    return is_known(unit) or (NOT_UNITS.search(unit.lower()) is None and VARIABLE.search(unit) is None)


def is_known(text: str) -> bool:
    """Whether a text is a unit of measure: `km`, `m/s^2`, `square inches`."""
    found = unit_of(text)
    return bool(found) and all(name in TABLE for name, _ in found)


def summed(text: str) -> str:
    """`1 hour and 30 minutes` as `3/2 hour`: parts of one kind, each less than one of the unit before it."""
    words = text.replace("\x01", " ").replace("\x02", " ")
    if COMPOUND.fullmatch(words) is None:
        return text
    parts = [(Fraction(number), unit) for number, unit in re.findall(QUANTITY, words)]
    ratios = [factor(unit, parts[0][1]) for _, unit in parts]
    sizes = [ratio for ratio in ratios if ratio is not None]
    amounts = [number * size for (number, _), size in zip(parts, sizes, strict=False)]
    nested = all(amount < size for amount, size in zip(amounts[1:], sizes, strict=False))
    if sizes != ratios or not nested or not all(is_known(unit) for _, unit in parts) or len(words) > 200:
        return text
    if all(len(unit) == 1 for _, unit in parts):
        return text  # `2h3s` may be a product
    return f"{sum(amounts)}\x01{parts[0][1]}\x02"


@lru_cache(maxsize=1024)
def unit_of(text: str) -> Unit:
    """A unit as `(symbol, power)` pairs in order: `m/s`, `meters per second`, `m s^{-1}` are one."""
    text = re.sub(r"(?<![a-z])per(?![a-z])", "/", text.strip(" .,()").replace("\\ ", " ").replace(".^", "^"))
    text = text.replace("平方", "square ").replace("立方", "cubic ")
    for name, meaning in WHOLE.items():
        text = re.sub(rf"(?<![a-zA-Z]){name}(?![a-zA-Z])", meaning, text, flags=re.IGNORECASE)
    powers: dict[str, int] = {}
    for i, side in enumerate(text.split("/")):
        implied = 0
        for word, digit, power in WORD.findall(side):
            name = word.lower().rstrip(".")
            if name in ("square", "sq", "cubic", "cu"):
                implied = 2 if name.startswith("sq") else 3
            elif name in ("squared", "cubed"):
                last = next(reversed(powers), "")
                powers[last] = powers.get(last, 1) * (2 if name == "squared" else 3)
            else:
                number = int(re.sub(r"[^\d-]", "", power) or digit or implied or 1)
                symbol = _symbol(word)
                powers[symbol] = powers.get(symbol, 0) + (number if i == 0 else -number)
                implied = 0
    if powers.keys() & {"°C", "°F"}:
        powers.pop("deg", None)  # degrees Celsius
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _symbol(word: str) -> str:
    """The symbol of a unit in the table, by any of its names; of another word its singular."""
    name = word.lower().rstrip(".")
    short = name[:-1] if len(name) > 2 and name.endswith("s") else name  # hrs, lbs
    known = (NAMES.get(spelling) for spelling in (word, name, singular(name), short))
    return next((symbol for symbol in known if symbol is not None), singular(name))


def factor(mine: str, other: str) -> Fraction | None:
    """How many of `other` make one of `mine`; None where they measure different things.

    Things counted (`apples`, `ways`) are the same where one phrase ends with the other's last word.
    """
    a, b = unit_of(mine), unit_of(other)
    if a == b:
        return Fraction(1)
    if not all(name in TABLE for name, _ in (*a, *b)):
        counted = all(name not in TABLE for name, _ in (*a, *b))
        shared = (
            counted
            and a
            and b
            and ({singular(_last(mine))} <= {n for n, _ in b} or {singular(_last(other))} <= {n for n, _ in a})
        )
        return Fraction(1) if shared else None
    if all(name == "unit" for name, _ in a) or all(name == "unit" for name, _ in b):
        same = sum(power for _, power in a) == sum(power for _, power in b)
        return Fraction(1) if same or (("unit", 1) in (*a, *b)) else None
    kinds = [sorted((TABLE[name][0], power) for name, power in unit) for unit in (a, b)]
    if kinds[0] != kinds[1]:
        return None
    sizes = [_size(unit) for unit in (a, b)]
    return sizes[0] / sizes[1]


def _size(unit: Unit) -> Fraction:
    size = Fraction(1)
    for name, power in unit:
        size *= TABLE[name][1] ** power
    return size


def _last(text: str) -> str:
    words = re.findall(r"[a-z]+", text.lower())
    return words[-1] if words else ""


def singular(word: str) -> str:
    """Without the plural ending, roughly."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
