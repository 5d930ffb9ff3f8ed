r"""The final answer of a completion, as text.

The rule: what follows the last `</think>` (thinking that never ends has no answer); of that, the last
`<answer>...</answer>` if there is one; of that, the last `\boxed{}`; else a stated answer ("The answer is 12",
"Answer: 12"); else the last line of a text that is short enough to be an answer.
"""

from __future__ import annotations

import re
from itertools import pairwise

LONGEST_BARE = 400  # characters; a longer text without a box or a stated answer is prose, not an answer
LONGEST_SCANNED = 200_000  # characters from the end that are searched
BOX = re.compile(r"\\+(?:boxed|fbox|framebox)\s*")
BETWEEN_BOXES = re.compile(
    r"(?:[\s,;$.]|\\[()\[\],;!]|\\q?quad|\\(?:text|mbox)\{\s*(?:and|or)\s*\}|\band\b|\bor\b)*", re.IGNORECASE
)
HIDDEN = re.compile(r"\\[hv]?phantom\s*$")
STATED = re.compile(
    r"(?:final\s+answer|answer|result|solution)\s*\**\s*(?:(?:is|are|=|:)+\s*)+(?P<said>[^\n]+)"
    r"|\banswer\s*\**\s*(?P<bare>\$\$.+?\$\$|\\\[.+?\\\]|\$[^$\n]+\$|\\\([^\n]+?\\\))",
    re.IGNORECASE | re.DOTALL,
)
SENTENCE_END = re.compile(r"(?<=[^\d\s])\.\s|\.\s+(?=[A-Z])|\.\s*$")
WRAPPED = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$([^$]+)\$|\\\((.+?)\\\)", re.DOTALL)
NAMED = re.compile(r"(?:The|This|So|Its|Their|Hence|Thus)\b.* is (\S{1,40})", re.DOTALL)
TRAILING_TAGS = re.compile(r"(?:<\|[^|<>]{1,40}\|>[a-z]*\s*)+$")


def final_part(completion: str) -> str | None:
    """The part that may hold the answer: after `</think>`, inside the last `<answer>` pair. None: unfinished."""
    text = completion[-LONGEST_SCANNED:]
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
    stated = _stated(text)
    return stated if stated is not None else _short(text)


def marked(completion: str) -> bool:
    r"""Whether the final part marks its answer: it stands inside `<answer>` or holds a `\boxed{}`."""
    part = final_part(completion)
    if part is None:
        return False
    return "<answer>" in completion.rpartition("</think>")[2] or BOX.search(part) is not None


def boxes(text: str) -> list[tuple[int, int, str]] | None:
    r"""`(start, end, content)` of every balanced, visible, outermost `\boxed{}`; None without any."""
    found: list[tuple[int, int, str]] = []
    closing: dict[int, int] | None = None
    position = 0
    while (match := BOX.search(text, position)) is not None:
        start, opening = match.span()
        closing = _braces(text) if closing is None else closing
        end = closing.get(opening)
        if end is None:  # `\boxed 12`, or a box that is never closed
            position = opening
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
    if len({re.sub(r"\s+", "", content) for content in inner}) == 1:
        return inner[-1]
    gaps = [text[left[1] : right[0]] for left, right in pairwise(found)]
    if all(len(gap) < 40 and BETWEEN_BOXES.fullmatch(gap) for gap in gaps):
        return ", ".join(inner)
    return None


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
        said = rest = (match["said"] or match["bare"]).strip().strip("*").strip()  # "Answer: the answer is 12"
    if said is None:
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
    text = TRAILING_TAGS.sub("", text).strip()
    if len(text) <= LONGEST_BARE:
        segments = list(WRAPPED.finditer(text))
        if segments and (len(segments) == 1 or not text[segments[-1].end() :].strip(" .")) and text[:1].isalpha():
            return next(group for group in segments[-1].groups() if group is not None).strip()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        plain = len(lines) == 1 or "\\begin" in text or text.startswith(("$", "\\["))
        return text if plain else lines[-1] if lines else None
    return None
