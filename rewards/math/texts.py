"""Answers in words: option letters, times of day, dates, ratios, numbers spelt out, set phrases.

Every function takes normalised answers and says True or False where it is sure, None where the kind does not fit.
"""

from __future__ import annotations

import re
from fractions import Fraction

OPTION = re.compile(r"(?:option|choice|answer|ans)?\s*:?\s*[(\[]?\s*([A-J])\s*[)\]]?\s*[.:]?", re.IGNORECASE)
OPTION_WITH_TEXT = re.compile(
    r"(?i:(?:the )?(?:correct )?(?:option|choice|answer) (?:is )?:?\s*)?"
    r"[(\[]?([A-J])([)\].:]+\s*|\s+is\b.*|$)(?P<rest>.*)",
    re.DOTALL,
)
ANOTHER_OPTION = re.compile(r"(?:^|[\s(])[A-J](?:[\s),.;]|$)|\b(?:or|and|all|both|none)\b")
LETTERS = re.compile(r"[A-J]{2,6}")
LETTERS_LISTED = re.compile(r"\(?[A-J]\)?(?:\s*(?:,|,?\s*and)\s*\(?[A-J]\)?)+")
TIME = re.compile(r"(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))?\s*(?:([ap])\.?\s?m\.?|(o'clock))?", re.IGNORECASE)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = r"(?P<month>jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
DATES = (
    re.compile(rf"(?:[a-z]+day,? )?{MONTH} (?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?"),
    re.compile(
        rf"(?:[a-z]+day,? )?(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{MONTH}(?:,? (?P<year>\d{{4}}))?"
    ),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"),
)
TO = re.compile(r"(?<=\d)\s*\x01?\s*to\s*\x02?\s*(?=\d)")
RATIO = re.compile(r"\d{1,12}(?:\.\d{1,6})?(?:\s*:\s*\d{1,12}(?:\.\d{1,6})?)+")
UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
PARTS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "twelfth": 12, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
NUMBER_WORD = re.compile(rf"\b(?:{'|'.join([*UNITS, *TENS, *SCALES, 'half'])})\b|(?<=\d)\x01k\x02", re.IGNORECASE)
PART = re.compile(rf"(?P<number>.+?)[ -](?P<part>{'|'.join(PARTS)})s?", re.IGNORECASE)
MIXED = re.compile(rf"(?P<whole>.+) and (?P<part>(?:an?|{'|'.join(UNITS)})[ -][a-z]+)", re.IGNORECASE)
SCALED = re.compile(
    rf"(?P<sign>[$€£₹¥]?)\s*(?P<number>.*\d)\s*(?P<scale>{'|'.join(SCALES)}|(?-i:k))(?P<rest>\s.*|)",
    re.IGNORECASE | re.DOTALL,
)
PHRASES = (  # without what `_phrase` takes away: articles, "is", "are", and what it is that exists or not
    {"no solution", "no solutions", "no real solution", "no real solutions", "has no solution", "has no solutions",
     "has no real solution", "has no real solutions", "no solution exists", "no solutions exist", "none exist", "none",
     "empty set", "\\emptyset", "no such number", "no real roots", "has no real roots", "no values", "no value"},
    {"does not exist", "dne", "doesn't exist", "d.n.e"},
    {"undefined", "not defined"},
    {"infinitely many", "infinitely many solutions", "has infinitely many solutions", "infinite solutions",
     "infinite number", "infinite"},
    {"diverges", "divergent"},
    {"converges", "convergent"},
    {"cannot be determined", "not enough information", "cannot be determined from the given information"},
)  # fmt: skip
DECISION = re.compile(r"[\x01\s]*(?:yes|no|true|false)[\x02\s.]*", re.IGNORECASE)
HEDGE = re.compile(r"\b(?:or|maybe|yes|no|true|false)\b")
REASON = re.compile(r"\s*(?:[,.;:]|\b(?:because|since|so)\b)")  # what may follow yes or no
BECAUSE = re.compile(r"\b(?:because|since|as|so)\b")
RESTRICTION = re.compile(r"\b(?:but|however|although|unless|except|if|only)\b")
DENIAL = re.compile(r"\bnot\b|n't\b")
ARTICLE = re.compile(r"^(?:the|an?) (?=\w)")
SUBJECT = re.compile(r"^(?:it|there|this|(?:equation|system|limit|series|answer)(?: of equations)?) (?=\S)")


def same_option(gold: str, answer: str) -> bool | None:
    """`B`, `(B)`, `B.`, `(B) 12`, `Option B`; an answer that names another letter beside it is none. `ACD` is three."""
    if LETTERS.fullmatch(gold) and LETTERS_LISTED.fullmatch(plain(answer)):
        return sorted(gold) == sorted(re.findall(r"\b[A-J]\b", plain(answer)))
    mine, theirs = option(gold), option(answer)
    if mine is None or theirs is None:
        return None
    return mine == theirs


def option(text: str) -> str | None:
    """The letter of a multiple-choice answer."""
    text = plain(text)
    if found := OPTION.fullmatch(text):
        return found[1].upper() if len(text) > 1 or text.isupper() else None
    found = OPTION_WITH_TEXT.fullmatch(text)
    if found is None or len(text) > 200 or ANOTHER_OPTION.search(found["rest"]) or " is" in found[2]:
        return None
    return found[1]


def same_time(gold: str, answer: str) -> bool | None:
    """`3:30 PM`, `3:30 p.m.`, `15:30`, `noon`; a missing AM or PM is no error, another one is."""
    a, b = time_of_day(gold), time_of_day(answer)
    if a is None or b is None or (a[3] is False and b[3] is False):
        return None
    if a[2] != b[2] or a[1] != b[1]:
        return False
    if "" in (a[4], b[4]) and a[0] % 12 == b[0] % 12 and a[4] + b[4] and max(a[0], b[0]) <= 12:
        return True  # only one of them says AM or PM
    return _hour(a) == _hour(b)


def _hour(time: tuple[int, int, int, bool, str]) -> int:
    return time[0] % 12 + 12 * (time[4] == "p") if time[4] else time[0]


def time_of_day(text: str) -> tuple[int, int, int, bool, str] | None:
    """Hour, minute, second, whether it is written as a time, and "a", "p" or ""."""
    text = {"noon": "12 pm", "midnight": "12 am"}.get(plain(text).lower(), plain(text))
    found = TIME.fullmatch(text)
    if found is None or int(found[1]) > 24:
        return None
    written = found[2] is not None or found[4] is not None or found[5] is not None
    return int(found[1]), int(found[2] or 0), int(found[3] or 0), written, (found[4] or "").lower()


def same_date(gold: str, answer: str) -> bool | None:
    """`June 20`, `20th of June`, `June 20, 1990`; a missing year is no error, another one is."""
    a, b = _date(gold), _date(answer)
    if a is None or b is None:
        return None
    return a[:2] == b[:2] and ("" in (a[2], b[2]) or a[2] == b[2])


def _date(text: str) -> tuple[int, int, str] | None:
    text = plain(text).lower()
    found = next((match for pattern in DATES if (match := pattern.fullmatch(text))), None)
    if found is None:
        return None
    month = found["month"]
    return int(month) if month.isdigit() else MONTHS.index(month[:3]) + 1, int(found["day"]), found["year"] or ""


def same_ratio(gold: str, answer: str) -> bool | None:
    """`3:4`, `6:8` and `3 to 4`; between a ratio of two numbers and a fraction the fraction decides elsewhere."""
    gold, answer = TO.sub(":", gold), TO.sub(":", answer)
    if not (RATIO.fullmatch(gold) and RATIO.fullmatch(answer)):
        return None
    a, b = [[Fraction(part.strip()) for part in text.split(":")] for text in (gold, answer)]
    if len(a) != len(b) or a[0] == 0 or b[0] == 0:
        return a == b
    return all(x * b[0] == y * a[0] for x, y in zip(a, b, strict=True))


def as_fraction(text: str) -> str | None:
    """`3:4` as `3/4`."""
    text = TO.sub(":", text)
    parts = text.split(":")
    if len(parts) != 2 or not RATIO.fullmatch(text) or TIME.fullmatch(text):
        return None
    return f"{parts[0].strip()}/{parts[1].strip()}" if "." not in text else f"({parts[0]})/({parts[1]})"


def in_digits(text: str) -> str:
    """`twenty-one apples` as `21 apples`, `three fourths` as `3/4`, `5 million` as `5*1000000`; else the text."""
    bare = plain(text)
    if (scaled := SCALED.fullmatch(bare)) is not None:
        scale = SCALES.get(scaled["scale"].lower(), 1000)
        return f"{scaled['sign']}{scaled['number']}*{scale}{scaled['rest']}"
    words = bare.split(" ")
    for end in range(min(len(words), 12), 0, -1):
        number = spelt_fraction(" ".join(words[:end]).lower())
        if number is not None:
            return " ".join([str(number), *words[end:]])
    return text


def spelt_fraction(text: str) -> Fraction | None:
    """`three fourths`, `one-half`, `two and a half`, `negative seven`; a part of a spelt number only (`3 halves`)."""
    negative = re.match(r"(?:negative|minus) ", text)
    if negative is not None:
        value = spelt_fraction(text[negative.end() :])
        return None if value is None or value < 0 else -value
    if (number := spelt_number(text)) is not None:
        return Fraction(number)
    if (mixed := MIXED.fullmatch(text)) is not None:
        whole, part = spelt_number(mixed["whole"]), spelt_fraction(mixed["part"])
        return whole + part if whole is not None and part is not None and 0 < part < 1 else None
    found = PART.fullmatch(text if text != "half" else "a half")
    if found is None:
        return None
    number = 1 if found["number"] in ("a", "an") else spelt_number(found["number"])
    return None if number is None else Fraction(number, PARTS[found["part"]])


def spelt_number(text: str) -> int | None:
    """`twenty-one`, `one hundred and five`: the number, or None."""
    tokens = plain(text).lower().replace("-", " ").replace(" and ", " ").split()
    if not tokens or len(tokens) > 12 or not all(t in UNITS or t in TENS or t in SCALES for t in tokens):
        return None
    total, part = 0, 0
    for token in tokens:
        if token in UNITS:
            part += UNITS.index(token)
        elif token in TENS:
            part += 20 + 10 * TENS.index(token)
        elif token == "hundred":
            part = max(1, part) * 100
        else:
            total, part = total + max(1, part) * SCALES[token], 0
    return total + part


def same_phrase(gold: str, answer: str) -> bool:
    """The same words up to case, punctuation, articles and a few set phrases."""
    a, b = _phrase(gold), _phrase(answer)
    if any(a in group and b in group for group in PHRASES):
        return True
    if a in ("yes", "no", "true", "false") and len(b) < 120:
        return _decides(a, b)
    return a == b and re.search(r"[^\W\d_]{3}", a) is not None and "^" not in a


def _decides(word: str, text: str) -> bool:
    """Whether a text says `word` and at most gives a reason for it: `yes, because ...`, not `no solution`."""
    rest = text[len(word) :]
    if not text.startswith(word) or HEDGE.search(rest) or (rest and not REASON.match(rest)):
        return False
    claim = BECAUSE.split(rest, maxsplit=1)[0]
    if RESTRICTION.search(claim) is not None:
        return False
    return word in ("no", "false") or DENIAL.search(claim) is None  # "yes, it is not"


def _phrase(text: str) -> str:
    text = plain(text).replace("\\ ", " ").lower()
    if not text.startswith("\\emptyset"):
        text = text.replace("\\", " ")
    text = re.sub(r"[{}$\"]|\*\*|\b(?:is|are)\b", " ", text)
    text = ARTICLE.sub("", re.sub(r"\s+", " ", text).strip(" .,;:!?'"))
    return ARTICLE.sub("", SUBJECT.sub("", text))


def plain(text: str) -> str:
    """Without the markers of text commands."""
    return re.sub(r"\s+", " ", text.replace("\x01", " ").replace("\x02", " ")).strip(" ~")
