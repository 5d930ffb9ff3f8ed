r"""One spelling for what is written in many: LaTeX spacing, delimiters, look-alike Unicode, text commands, units.

Nothing here decides anything: two answers with the same normal form are the same text up to typography.
"""

from __future__ import annotations

import re
import unicodedata

from rewards.math.tokens import FUNCTIONS, LISTED
from rewards.math.units import is_known, summed

LONGEST = 4000  # characters of an answer that are looked at beyond plain string equality

SYMBOLS = str.maketrans({
    # minus signs and dashes; times, dots and asterisk operators; division slashes
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\ufe63": "-", "\uff0d": "-",
    "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*", "\u00f7": "/", "\u2215": "/", "\u2044": "/",
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "\u222a": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "√": r"\sqrt ", "°": r"^\circ ", "θ": r"\theta ", "\u03b1": r"\alpha ",
    "β": r"\beta ", "±": r"\pm ", "∓": r"\mp ", "\u2032": "'", "≈": r"\approx ",
    # full-width punctuation and typographic spaces
    "\uff0c": ",", "\uff1b": ";", "\uff1a": ":", "\uff08": "(", "\uff09": ")", "\uff05": "%", "\uff1d": "=",
    "\uff0b": "+", "\uff5b": "{", "\uff5d": "}", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "ℝ": r"\R ", "ℤ": r"\Z ", "ℕ": r"\N ", "ℚ": r"\Q ", "→": r"\to ", "¬": r"\neg ", "∧": r"\land ", "∨": r"\lor ",
    "⟨": "(", "⟩": ")", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∖": r"\setminus ",
    "∠": r"\angle ", "△": r"\triangle ", "…": "...", "∑": r"\sum ", "∫": r"\int ", "⇒": r"\Rightarrow ", "ϕ": r"\phi ",
    # operators and signs of other scripts; the ring and the ordinal sign stand for degrees
    "、": ",", "∶": ":", "º": r"^\circ ", "˚": r"^\circ ", "度": r"^\circ ", "∙": "*", "⩾": r"\ge ", "≧": r"\ge ",
    "⩽": r"\le ", "≦": r"\le ", "∛": r"\sqrt[3] ", "￥": "¥", "和": " and ", "或": " or ",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅛": r"\frac{1}{8}", "⅕": r"\frac{1}{5}", "⅙": r"\frac{1}{6}",
})  # fmt: skip
SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+")
SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
SUBSCRIPTS = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
SUBSCRIPT_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]ig[lr]?|[bB]igg[lr]?|large|Large|LARGE|huge|small|displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])\.?"
)
VULGAR = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[/⁄]([₀₁₂₃₄₅₆₇₈₉]+)")
ROOTED = re.compile(r"([√∛])\s*(\d+|[a-zA-Z])")  # a Unicode root covers the number behind it
COLOURS = re.compile(r"\\(?:text)?color\s*\{[^{}]*\}")
INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f]")
DIALECT = re.compile(r"\\!|color|\(|C|j$|over|(?<=\d)\s*(?:\^[\s{]*)?(?:\\\w+\s*\{\s*)?(?:st|nd|rd|th)|\\text\s*\{\\\$")
NEGATIVE_SPACE = re.compile(r"\\!\s*")  # `11,\! 111` prints as 11,111
OVER = re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}|^([^{}]*)\\over(?![a-zA-Z])([^{}]*)$")
ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^\s*\{?\s*)?(?:\\(?:text|mathrm|textrm)\s*\{\s*)?(?:st|nd|rd|th)(?![a-zA-Z])(?:\s*\})*"
)
COMPLEX = re.compile(r"\(?[-+]?[\d.]*(?:[-+][\d.]*)?j\)?")  # as Python writes it
PYTHON = (
    (re.compile(r"(?<![a-zA-Z])Rational\(([^(),]+),([^(),]+)\)"), r"((\1)/(\2))"),
    (re.compile(r"(?<![a-zA-Z])FiniteSet\(([^()]*)\)"), r"\{\1\}"),
    (re.compile(r"(?<![a-zA-Z])Interval\.open\(([^()]*)\)"), r"(\1)"),
    (re.compile(r"(?<![a-zA-Z])Interval\.Lopen\(([^()]*)\)"), r"(\1]"),
    (re.compile(r"(?<![a-zA-Z])Interval\.Ropen\(([^()]*)\)"), r"[\1)"),
    (re.compile(r"(?<![a-zA-Z])Interval\(([^(),]*,[^(),]*)\)"), r"[\1]"),
    (re.compile(r"(?<![a-zA-Z])Eq\(([^(),]*),([^(),]*)\)"), r"\1=\2"),
)
SPACES = re.compile(r"\\(?:quad|qquad|thinspace|space|hspace\{[^{}]*\}|phantom\{[^{}]*\})(?![a-zA-Z])|\\[,;:!> ]|~")
DELIMITERS = re.compile(r"(?<!\\)\$\$?|\\[()\[\]]")
LONE_DOLLAR = re.compile(r"[^$]*(?<!\\)\$\s*[\d.,]+[^$]*")  # `$10`: one sign, before a number
ROW_END = re.compile(r"\\\\(?:\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in|mu)\s*\])?|\\cr(?![a-zA-Z])")
QUOTED = re.compile(r"\*\*(?P<bold>[^*]+)\*\*|`(?P<code>[^`]+)`|[\"“](?P<quoted>[^\"“”]+)[\"”]")
BRACED_SIGN = re.compile(r"\{([:.])\}")  # `3{:}45`: braces against the space around a sign
FRACTIONS = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
FONTS = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathcal|boldsymbol|bm|operatorname\*?|bf|rm|it|mathop|vec|hat|overrightarrow|"
    r"pmb|bold|underline|mathbb)(?![a-zA-Z])\s*"
)
WORDS = r"\s*\{((?:[^{}]|(?<=[\^_])\{[^{}]*\})*)\}"  # `\text{cm^{2}}` too
TEXT = re.compile(rf"\\(?:text|textbf|textit|textrm|textnormal|textsf|texttt|textup|mbox|hbox|emph){WORDS}")
ROMAN = re.compile(rf"\\(?:mathrm|operatorname\*?|mathop|mathsf|mathit){WORDS}")
MARKERS = re.compile("[\x01\x02]")
INFINITY = re.compile(r"\x01(?:(?P<minus>negative|minus|-)\s*|(?:positive|plus|\+)\s*)?infinity\x02", re.IGNORECASE)
NUMBER_SETS = re.compile(r"\\(?:mathbb|Bbb|mathbf|bf)\s*(?:\{\s*([RZNQC])\s*\}|([RZNQC])(?![a-zA-Z]))")
CHOICE, INDEX = r"(?<![a-zA-Z\\])(?:\\mathrm\s*\{\s*C\s*\}|C)\s*", r"\s*(?:\{\s*([\w+-]+)\s*\}|(\w))"
CHOICES = (  # n over k in other spellings
    (re.compile(r"(?:\{\s*\})?[_^]\s*\{?\s*(\d+|[a-z])\s*\}?\s*C\s*_\s*\{?\s*(\d+|[a-z])\s*\}?"), r"\\binom{\1}{\2}"),
    (
        re.compile(rf"{CHOICE}_{INDEX}\s*\^{INDEX}"),
        lambda found: _choice(found, found[1] or found[2], found[3] or found[4]),
    ),
    (
        re.compile(rf"{CHOICE}\^{INDEX}\s*_{INDEX}"),
        lambda found: _choice(found, found[3] or found[4], found[1] or found[2]),
    ),
    (re.compile(r"\{\s*(\w+)\s*\\choose\s*(\w+)\s*\}"), r"\\binom{\1}{\2}"),
)
TANGENT = re.compile(r"\\(?:(?:operatorname\*?|mathrm)\s*\{\s*(arc)?(c?)tg\s*\}|(arc)?(c?)tg(?![a-zA-Z]))")
ALIASES = (
    (re.compile(r"\\leq(?:slant)?(?![a-zA-Z])|<="), r"\\le "),
    (re.compile(r"\\geq(?:slant)?(?![a-zA-Z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![a-zA-Z])|!="), r"\\ne "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\(?:varnothing)(?![a-zA-Z])"), r"\\emptyset "),
    (re.compile(r"\\(?:degree|degrees)(?![a-zA-Z])|\^\s*\{\s*\\circ\s*\}"), r"^\\circ "),
    (re.compile(r"\\(?:lbrace)(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:lvert|rvert|mid|vert)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\(?:dots|ldots|cdots|dotsc|dotsb|dotsm)(?![a-zA-Z])"), "..."),
    (re.compile(r"\\(?:rightarrow|longrightarrow|mapsto)(?![a-zA-Z])"), r"\\to "),
    (re.compile(r"\\(?:implies|Longrightarrow)(?![a-zA-Z])"), r"\\Rightarrow "),
    (re.compile(r"\\(?:iff|Leftrightarrow)(?![a-zA-Z])"), r"\\leftrightarrow "),
    (re.compile(r"\\lnot(?![a-zA-Z])"), r"\\neg "),
    (re.compile(r"\\vee(?![a-zA-Z])"), r"\\lor "),
    (re.compile(r"\\wedge(?![a-zA-Z])"), r"\\land "),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\imath(?![a-zA-Z])"), "i"),
    (re.compile(r"\\jmath(?![a-zA-Z])"), "j"),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\\lbrack(?![a-zA-Z])"), "["),
    (re.compile(r"\\rbrack(?![a-zA-Z])"), "]"),
    (re.compile(r"\\(?:backslash|smallsetminus)(?![a-zA-Z])"), r"\\setminus "),
    (re.compile(r"\\(?:pounds|textsterling)(?![a-zA-Z])"), "£"),
    (re.compile(r"\\(?:euro|texteuro)(?![a-zA-Z])"), "€"),
    (re.compile(r"\\(?:therefore|because|Box|square|checkmark)(?![a-zA-Z])"), " "),
    (re.compile(r"\\(?:left|right)?arrow(?![a-zA-Z])"), r"\\to "),
    (re.compile(r"\\\{\s*\\\}"), r"\\emptyset "),
    (re.compile(r"\{\s*\}"), " "),
)
WHOLE_TEXT = re.compile(r"\{*\x01\s*([-+$€£¥₹\d][^\x01\x02]*?)[\s.,;]*\x02\}*")  # `\text{72 clips}`
ANNOUNCED = re.compile(  # words that only say that the answer follows; any other word may change what is said
    r"(?P<mark>\x01?)\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|an?)\s+)?(?:(?:final|correct|grand)\s+)?"
    r"(?:(?:answer|result|total|value|solution)(?:\s+(?:is|are|equals|of))?|it is|there are|exactly|precisely)\s*[:=]?"
    r"\s*(?:(?P<end>\x02)\s*(?=\S)|(?<=[\s:=])(?=[-+$€£¥₹]?\s?\d))",
    re.IGNORECASE,
)
END = re.compile(r"([(\[\]])([^\[\],;]*[,;][^\[\],;]*)([)\[\]])")
OPEN_ENDED = re.compile(  # `]0,1[` is (0,1)
    rf"(?:[a-zA-Z]\s*\\in\s*)?{END.pattern}(?:\s*(?:\\cup|[uU])\s*{END.pattern})*"
)
LEADING = re.compile(r"^(?:(?:=|\\Rightarrow(?![a-zA-Z])|\\approx|\\sim(?=\s*\d)|~|≈)\s*)+")
SPACED = re.compile(r"[-+]?[1-9]\d{0,2}(?: \d{3})+(?:\.\d+)?")
GROUPED = re.compile(r"(?<![\d.,])([1-9]\d{0,2}(?:(?:,|\{,\}|\\,)\d{3})+)(?![\d,])")  # `1, 234` is a list


def normal(answer: str) -> str:
    r"""Typography removed: `\dfrac{1}{2}`, `$\frac{1}{2}$.` and `½` become `\frac{1}{2}`.

    Text commands become plain text between `\x01` and `\x02`, so that later layers can tell words from products.
    """
    text = INVISIBLE.sub("", answer).strip()
    if DIALECT.search(text) is not None:
        text = _dialect(text)
    text = text.replace(r"\\", "\\") if "\\begin" not in text and re.search(r"\\\\[a-zA-Z]", text) else text
    if not text.isascii():
        text = ROOTED.sub(r"\1{\2}", text)
        text = VULGAR.sub(_vulgar, text)
        text = SUBSCRIPTS.sub(lambda run: "_{" + run[0].translate(SUBSCRIPT_DIGITS) + "}", text)
        text = SUPERSCRIPTS.sub(lambda run: "^{" + run[0].translate(SUPERSCRIPT_DIGITS) + "}", text)
        text = text.translate(SYMBOLS)
        if not text.isascii():  # a styled letter may be a symbol: a bold pi, the sign for degrees Celsius
            text = "".join(_plain(char) for char in text).translate(SYMBOLS)
    text = text.strip().rstrip(".。,; ").strip() if not text.endswith("...") else text
    if (quoted := QUOTED.fullmatch(text)) is not None:
        text = str(quoted[quoted.lastgroup or 0])
    text = BRACED_SIGN.sub(r"\1", text)
    if "\\" in text or "$" in text or "~" in text:
        text = _latex(text)
    if "," in text:
        text = ungroup(text)
    text = re.sub(r"\s+", " ", text).strip()
    if text[:1] in "\x01{" or text[:1].isalpha():
        text = _unannounced(text)
    if text[:1] in "=\\~≈":
        text = LEADING.sub("", text)
    text = summed(text.rstrip("\\ "))
    if ("]" in text or "[" in text) and OPEN_ENDED.fullmatch(text) is not None:
        text = END.sub(lambda end: end[1].replace("]", "(") + end[2] + end[3].replace("[", ")"), text)
    return text.replace(" ", "") if SPACED.fullmatch(text) else text


def _unannounced(text: str) -> str:
    r"""`\text{The answer is }72`, `\text{72 clips}` and `\text{a total of 72 clips}` without what is around them."""
    if (found := ANNOUNCED.match(text)) is not None:
        open_still = found["mark"] and not found["end"]
        text = ("\x01" if open_still else "") + text[found.end() :]
    whole = WHOLE_TEXT.fullmatch(text)
    return whole[1] if whole is not None else text


def _dialect(text: str) -> str:
    """Negative spaces and colours away, sympy's constructors as mathematics."""
    text = ORDINAL.sub("", COLOURS.sub(" ", NEGATIVE_SPACE.sub("", text).replace("\\text{\\$}", "\\$")))
    text = OVER.sub(lambda f: f"\\frac{{{f[1] or f[3]}}}{{{f[2] or f[4]}}}", text)
    if COMPLEX.fullmatch(text):
        text = text.strip("()").replace("j", "i")
    for pattern, plain in PYTHON + CHOICES:
        text = pattern.sub(plain, text)
    return text


def _choice(found: re.Match[str], n: str, k: str) -> str:
    """`C_n^k`; an index below the exponent is the index of a constant: `C_1^2`."""
    return found[0] if n.isdigit() and k.isdigit() and int(n) < int(k) else f"\\binom{{{n}}}{{{k}}}"


def _plain(char: str) -> str:
    """Styled letters and digits (mathematical bold, full width) as plain ones; enclosed digits stay what they are."""
    if char.isascii() or unicodedata.decomposition(char).startswith(("<circle>", "<square>", "<super>", "<sub>")):
        return char
    return unicodedata.normalize("NFKC", char)


def _vulgar(found: re.Match[str]) -> str:
    top, bottom = found[1].translate(SUPERSCRIPT_DIGITS), found[2].translate(SUBSCRIPT_DIGITS)
    return f"\\frac{{{top}}}{{{bottom}}}"


def _latex(text: str) -> str:
    if text.count("$") == 1 and LONE_DOLLAR.fullmatch(text):
        text = text.replace("$", r"\$")
    text = text.replace(r"\%", "%").replace(r"\_", "_").replace(r"\#", "#").replace(r"\&", "&")
    if "," in text:
        text = ungroup(text)
    if "\\begin" in text:
        text = ROW_END.sub("\x03", text)  # before `\\[` looks like a display
    text = SIZES.sub(" ", DELIMITERS.sub(" ", text)).replace(r"\$", "$")
    text = SPACES.sub(" ", text)
    text = FRACTIONS.sub(r"\\frac", text)
    for _ in range(3):  # `\textbf{\text{42}}`
        text, nested = TEXT.subn(_words, text)
        if not nested:
            break
    text = INFINITY.sub(lambda found: "-\\infty " if found["minus"] else "\\infty ", text)
    text = NUMBER_SETS.sub(lambda found: f"\\{found[1] or found[2]} ", text)
    text = TANGENT.sub(lambda f: f"\\{f[1] or f[3] or ''}{'cot' if f[2] or f[4] else 'tan'} ", text)
    text = FONTS.sub("", ROMAN.sub(_roman, text))
    for pattern, plain in ALIASES:
        text = pattern.sub(plain, text)
    return text


def _words(found: re.Match[str]) -> str:
    words = MARKERS.sub("", found[1]).strip()
    return f"\x01{words}\x02" if words else " "


def _roman(found: re.Match[str]) -> str:
    """Upright letters: a function, a single letter (the differential, e, i), or words."""
    word = found[1].strip()
    if word in FUNCTIONS or word in LISTED:
        return f"\\{word} "
    if "^" in word and not is_known(word):
        return f"{{{word}}}"  # `\mathrm{x^{2}}`
    unit = found[1][:1].isspace() and is_known(word)  # `5 \mathrm{~m}`
    return word if len(word) <= 1 and not unit else f"\x01{word}\x02"


def ungroup(text: str) -> str:
    """`1,234` and `1{,}234` to `1234`, outside brackets only: `(1,234)` is a pair."""
    if not GROUPED.search(text):
        return text
    pieces: list[str] = []
    depth, start = 0, 0
    for i, char in enumerate(text):
        if char in "([" or (char == "{" and i > 0 and text[i - 1] == "\\"):
            depth += 1
            if depth == 1:
                pieces.append(GROUPED.sub(_join, text[start:i]))
                start = i
        elif char in ")]" or (char == "}" and i > 0 and text[i - 1] == "\\"):
            depth = max(0, depth - 1)
            if depth == 0:
                pieces.append(text[start:i])
                start = i
    tail = text[start:]
    pieces.append(GROUPED.sub(_join, tail) if depth == 0 else tail)
    return "".join(pieces)


def _join(found: re.Match[str]) -> str:
    return re.sub(r"[^\d]", "", found[1])


def squeezed(text: str) -> str:
    """For string equality only: no text markers, no redundant braces, and no white space but between digits."""
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text.replace("\x01", "").replace("\x02", ""))
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", text)


def has_hidden_characters(text: str) -> bool:
    """Combining marks, controls or direction marks: text that does not look like what it says."""
    text = INVISIBLE.sub("", text)
    return any(unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc") and char not in "\n\t\r" for char in text)
