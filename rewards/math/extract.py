r"""The final answer of a completion, as text.

The rule: what follows the last `</think>` (thinking that never ends has no answer); of that, the last
`<answer>...</answer>` if there is one; of that, the last `\boxed{}`; else a stated answer ("The answer is 12",
"Answer: 12", "#### 12"); else a text short enough to be an answer; else what its last sentence concludes.
Boxes with different answers are no answer, unless the last one takes back what went before ("no, \boxed{2}").
"""

from __future__ import annotations

import re
from itertools import pairwise

from rewards.math.judge import same_answer
from rewards.math.normal import squeezed

LONGEST_BARE = 400  # characters; a longer text without a box or a stated answer is prose, not an answer
LONGEST_SCANNED = 200_000  # characters from the end that are searched
BOX = re.compile(r"\\{1,3}(?:boxed|fbox|framebox)\s*")
BARE_BOX = re.compile(r"\\boxed\s*([-+]?\d[\d.,/]*|[A-Za-z](?![A-Za-z]))")
BETWEEN_BOXES = re.compile(
    r"(?:[\s,;$.]|\\[()\[\],;!]|\\q?quad|\\(?:text|mbox)\{\s*(?:and|or)\s*\}|\band\b|\bor\b)*", re.IGNORECASE
)
HIDDEN = re.compile(r"\\[hv]?phantom\s*$")
RETRACTED = re.compile(
    r"\b(?:no|wait|actually|correction|correct(?:ed|ing)?|instead|rather|sorry|mistake|oops|final answer|hold on"
    r"|requested)\b",
    re.IGNORECASE,
)
NAMED_BOX = re.compile(r"\s*[a-zA-Z](?:_\{?\w+\}?|\(\w\))?\s*=\s*$")
HOPE = re.compile(r"(?:I hope (?:it|this) is correct|Hope this helps)[.!]?\s*$", re.IGNORECASE)
SENTENCES = re.compile(r"(?:(?<=[.!?])|(?<=[.!?]\$)|(?<=[.!?]\$\$))\s+(?=[A-Z\\$*])|[\n。]+")
CONCLUSION = re.compile(
    r"(?:\b(?:is|are|equals|was|were|be|costs?|gives?|gets?|have|has|needs?|by|there are|makes?)\b|[=:≈])\s*"
    r"(?:equal to\s+|exactly\s+|about\s+)?"
    r"(?P<said>[^=:≈]*?)\s*[.!]?\s*$",
)
PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
GIVES_UP = re.compile(
    r"\b(?:not (?:able|sure|certain)|unable|can(?:no|')t|could(?: not|n't)|do(?: not|n't) know)\b", re.IGNORECASE
)
QUANTITY = re.compile(r"(?<![\w.,])[-+]?\$?\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?\s?%?(?![\w])")
STATED = re.compile(
    r"(?:^|\n)\s*####\s*(?P<hashed>[^\n]+)|"
    r"(?:final\s+answer|answer|result|solution|correct\s+(?:option|choice)|答案)\s*\**\s*"
    r"(?:(?:is|are|=|:|：|是|为)+\s*)+(?P<said>[^\n]+)"
    r"|\banswer\s*\**\s*(?P<bare>\$\$.+?\$\$|\\\[.+?\\\]|\$[^$\n]+\$|\\\([^\n]+?\\\))",
    re.IGNORECASE | re.DOTALL,
)
SENTENCE_END = re.compile(r"(?<=[^\d\s])\.\s|\.\s+(?=[A-Z])|\.\s*$|。")
WRAPPED = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$([^$]+)\$|\\\((.+?)\\\)", re.DOTALL)
NAMED = re.compile(r"(?:The|This|So|Its|Their|Hence|Thus)\b.* is (\S{1,40})", re.DOTALL)
ANSWER_TAG = re.compile(r"</?answer>", re.IGNORECASE)
TRAILING_TAGS = re.compile(r"(?:<\|[^|<>]{1,40}\|>[a-z]*\s*)+$")


def _tagged(completion: str) -> str:
    """With `<ANSWER>` as `<answer>`."""
    return ANSWER_TAG.sub(lambda tag: tag[0].lower(), completion)


def final_part(completion: str) -> str | None:
    """The part that may hold the answer: after `</think>`, inside the last `<answer>` pair. None: unfinished."""
    text = _tagged(completion[-LONGEST_SCANNED:])
    _, closed, tail = text.rpartition("</think>")
    if closed:
        text = tail
    elif "<think>" in completion:
        return None
    if "<answer>" in text:
        inside, ended, _ = text.rpartition("</answer>")
        if not ended:
            return None
        return inside.rpartition("<answer>")[2]
    return text


def extract(completion: str) -> str | None:
    """The final answer, or None where there is none (also where different answers are boxed one after another).

    Boxes that form one list (`\\boxed{1}, \\boxed{2}`) are one answer: `1, 2`.
    """
    text = final_part(completion)
    if text is None or not text.strip():
        return None
    found = boxes(text)
    if found is not None:
        return _one_answer(text, found)
    if "\\boxed" in text:  # opened, never closed
        return _unclosed(text)
    text = HOPE.sub("", TRAILING_TAGS.sub("", text).strip())
    stated = _stated(text)
    if stated is None:
        stated = _short(text)
    return stated if stated is not None else _concluded(text)


def marked(completion: str) -> bool:
    r"""Whether the final part marks its answer: it stands inside `<answer>` or holds a `\boxed{}`."""
    part = final_part(completion)
    if part is None:
        return False
    return "<answer>" in _tagged(completion).rpartition("</think>")[2] or BOX.search(part) is not None


def boxes(text: str) -> list[tuple[int, int, str]] | None:
    r"""`(start, end, content)` of every balanced, visible, outermost `\boxed{}`; None without any."""
    found: list[tuple[int, int, str]] = []
    closing: dict[int, int] | None = None
    position = 0
    while (match := BOX.search(text, position)) is not None:
        start, opening = match.span()
        closing = _braces(text) if closing is None else closing
        end = closing.get(opening)
        if end is None:
            bare = BARE_BOX.match(text, start)
            if bare is not None:  # `\boxed 12`
                found.append((start, bare.end(), bare[1].rstrip(".,")))
            position = opening  # else a box that is never closed
            continue
        if not _hidden(text, start):
            found.append((start, end, text[opening + 1 : end - 1].strip()))
        position = end
    return found or None


def _braces(text: str) -> dict[int, int]:
    """Position of each `{` to the position after its `}`, in one pass; escaped braces do not count."""
    closing: dict[int, int] = {}
    stack: list[int] = []
    for found in re.finditer(r"\\[{}]|[{}]", text):
        if found[0] == "{":
            stack.append(found.start())
        elif found[0] == "}" and stack:
            closing[stack.pop()] = found.end()
    return closing


def _hidden(text: str, start: int) -> bool:
    before = text[max(0, start - 12) : start]
    return before.endswith("{") and HIDDEN.search(before[:-1]) is not None


def _one_answer(text: str, found: list[tuple[int, int, str]]) -> str | None:
    inner = [_unboxed(content) for _, _, content in found]
    if len(set(map(squeezed, inner))) == 1:
        return inner[-1]
    gaps = [text[left[1] : right[0]] for left, right in pairwise(found)]
    named = NAMED_BOX.search(text[max(0, found[0][0] - 20) : found[0][0]]) is not None
    if named:
        gaps = [NAMED_BOX.sub("", gap) for gap in gaps]
    if all(len(gap) < 40 and BETWEEN_BOXES.fullmatch(gap) for gap in gaps):
        return ", ".join(inner)
    if len(found) <= 8 and all(same_answer(inner[-1], other) for other in inner[:-1]):
        return inner[-1]
    return inner[-1] if RETRACTED.search(gaps[-1]) is not None else None


def _unboxed(content: str) -> str:
    nested = boxes(content) if BOX.search(content) else None
    if nested and nested[0][0] == 0 and nested[0][1] == len(content):
        return _unboxed(nested[0][2])
    return content


def _unclosed(text: str) -> str | None:
    """`$\\boxed{28 percent}` cut by a missing brace: take the line, for the writer did mark it."""
    start = text.rfind("\\boxed{") + len("\\boxed{")
    line = text[start:].split("\n", 1)[0].rstrip(" $.}")
    return line if 0 < len(line) <= 60 and "{" not in line else None


def _stated(text: str) -> str | None:
    said: str | None = None
    rest = text[-4000:]
    while (match := _last_match(rest)) is not None:
        said = rest = (match["said"] or match["bare"] or match["hashed"]).strip().strip("* ")  # "Answer: it is 12"
    if said is None or said.lower().startswith(("not ", "不")):
        return None
    wrapped = WRAPPED.match(said)
    if wrapped is not None and said[wrapped.end() :].lstrip()[:1] in ("", ".", "%", ",", "*"):
        percent = "%" if said[wrapped.end() :].lstrip().startswith("%") else ""
        return next(group for group in wrapped.groups() if group is not None).strip() + percent
    said = TRAILING_TAGS.sub("", said)
    said = SENTENCE_END.split(said, maxsplit=1)[0].strip().strip("*").strip()
    named = NAMED.fullmatch(said)
    return (named[1] if named is not None else said) or None


def _last_match(text: str) -> re.Match[str] | None:
    last = None
    for match in STATED.finditer(text):
        last = match
    return last


def _short(text: str) -> str | None:
    """A text that is nothing but an answer: one line without prose, one formula, one matrix."""
    if len(text) > LONGEST_BARE:
        return text if re.search(r"\s", text) is None else None
    if GIVES_UP.search(text) is not None:
        return None
    segments = list(WRAPPED.finditer(text))
    if segments and (len(segments) == 1 or not text[segments[-1].end() :].strip(" .")) and text[:1].isalpha():
        return _segment(segments[-1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    prose = len(PROSE.findall(WRAPPED.sub("", lines[-1]))) if lines and " " in lines[-1] else 0  # AB:BC=2:3 is none
    says_number = prose >= 2 and QUANTITY.search(lines[-1]) is not None and CONCLUSION.search(lines[-1]) is not None
    if text[:1] not in "\\$" and (prose >= 4 or says_number):
        return None if QUANTITY.search(lines[-1]) or len(lines) > 1 else text
    plain = len(lines) == 1 or "\\begin" in text or text.startswith(("$", "\\["))
    text = text.strip("* ") if text.startswith("**") else text
    return text if plain else lines[-1] if lines and len(lines[-1]) < 60 else None


def _segment(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None).strip()


def _concluded(text: str) -> str | None:
    """What the last sentence says: its last formula, or the number it ends on or names alone."""
    sentences = [one.strip() for one in SENTENCES.split(text[-2000:]) if one.strip(" *_-#.")]
    if not sentences:
        return None
    last = sentences[-1].strip()
    if GIVES_UP.search(last) is not None:
        return None
    bold = BOLD.findall(last)
    if len(bold) == 1 and QUANTITY.search(bold[0]) is not None:
        return str(bold[0]).strip()
    last = last.replace("**", "").strip()
    segments = list(WRAPPED.finditer(last))
    if segments:
        percent = "%" if last[segments[-1].end() :].lstrip().startswith("%") else ""
        return _segment(segments[-1]) + percent
    quantities = [found[0].strip() for found in QUANTITY.finditer(last)]
    said = CONCLUSION.search(last)
    if said is not None and (numbers := QUANTITY.findall(said["said"])):
        return (
            said["said"].strip()
            if len(said["said"].split()) <= 3
            else numbers[0].strip()
            if len(numbers) == 1
            else None
        )
    return quantities[0] if len(quantities) == 1 else None
