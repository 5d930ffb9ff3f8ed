"""A solution in any hand, put into the house's form `<think>work</think><answer>answer</answer>` by rule.

R1-Zero and base models mark nothing: their text is cut where the final answer begins. What no rule can cut stays as it
is, and the check that follows drops it.
"""

from __future__ import annotations

import re

from models.chat import ANSWER_CLOSE, ANSWER_OPEN, TAGS, THINK_CLOSE, THINK_OPEN, final_answer

BLOCK = re.compile(r"```(?:python|python3|py)?[ \t]*\n(.*?)```", re.DOTALL)
PROGRAM = re.compile(r"^[ \t]*(?:def|class|import|from)\b|(?<=Answer: )(?:def|class|import|from)\b", re.MULTILINE)
# What stands before an answer and only says that it comes: "Answer:", "So the answer is", "####", "$\\boxed{".
ANNOUNCED = re.compile(
    r"(?:[#*$\\(\[{]+|\\boxed\{|\b(?:so|thus|hence|therefore|that is|(?:so |thus )?(?:the )?(?:final )?"
    r"(?:answer|result|solution)(?: is)?):?),?$",
    re.IGNORECASE,
)
# How a line of work ends, where all of it looks like an answer: in "= 42" or "So 42".
ENDS = re.compile(r"(?:=|\b(?:so|thus|hence|therefore|that is)\b,?)\s*([^=\s]+?)\.?\s*$", re.IGNORECASE)
OPERATION = re.compile(r"\d\s*[-+*/^]\s*\d")
TAIL = 80  # characters in which an announcement is looked for
NAMED = re.compile(r"\A\s*(?:work|solution|reasoning|thoughts?|notes)\s*[.:]\s*", re.IGNORECASE)


def house_form(text: str, *, code: bool = False) -> str:
    """`text` in the house's form, or unchanged where it has it already or no rule tells the work from the answer.

    code: the answer is a program.
    """
    if final_answer(text) is not None:
        return text
    parts = _marked(text) if any(tag in text for tag in TAGS) else _program(text) if code else _stated(text)
    if parts is None:
        return text
    work, answer = NAMED.sub("", parts[0]).strip(), parts[1].strip()
    if not answer or any(tag in part for tag in TAGS for part in (work, answer)):
        return text
    said = f"\n```python\n{answer}\n```\n" if code and "```" not in answer else answer
    return f"{THINK_OPEN}{work}{THINK_CLOSE}{ANSWER_OPEN}{said}{ANSWER_CLOSE}"


def _marked(text: str) -> tuple[str, str] | None:
    """With some of the tags: what follows the thinking is the answer, and what precedes the answer is the thinking."""
    work, thought, said = text.partition(THINK_CLOSE)
    if not thought:
        if THINK_OPEN in text:
            return None  # thinking that never ends
        work, _, said = text.partition(ANSWER_OPEN)
    else:
        said = said.strip().removeprefix(ANSWER_OPEN)
    return work.strip().removeprefix(THINK_OPEN), said.strip().removesuffix(ANSWER_CLOSE)


def _program(text: str) -> tuple[str, str] | None:
    """The last fenced block is the answer, or else all that follows the first line of a program."""
    blocks = list(BLOCK.finditer(text))
    if blocks:
        return _unannounced(text[: blocks[-1].start()]), blocks[-1][1].rstrip()
    found = PROGRAM.search(text)
    return (_unannounced(text[: found.start()]), text[found.start() :]) if found else None


def _stated(text: str) -> tuple[str, str] | None:
    """The final answer is the one that `math` would read; the work is what stands before it."""
    from rewards.math.extract import extract

    answer = extract(text)
    if not answer or (place := _place(text, answer)) is None:
        return None
    before = text[:place]
    if not _unannounced(before) and (end := ENDS.search(answer)) is not None and OPERATION.search(answer) is not None:
        before, answer = f"{before}{answer[: end.start(1)]}", end[1]  # "12+30=42. So 42" in one line
    if before.rstrip().endswith("="):  # "12+30=42": the answer ends the work
        return f"{before.rstrip()}{answer}", answer
    return _unannounced(before), answer


def _place(text: str, answer: str) -> int | None:
    """Where the answer stands as a word of its own: at its last announcement, else the last time; None: nowhere."""
    spots = [found.start() for found in re.finditer(rf"(?<![\w.]){re.escape(answer)}(?!\w)", text)]
    announced = (spot for spot in reversed(spots) if ANNOUNCED.search(_tail(text, spot)))
    place = next(announced, spots[-1] if spots else text.rfind(answer))
    return place if place >= 0 else None


def _tail(text: str, end: int) -> str:
    """`text[:end].rstrip()[-TAIL:]` without a copy of all before it: hostile text has answers by the thousand."""
    while end and text[end - 1].isspace():
        end -= 1
    return text[max(0, end - TAIL) : end]


def _unannounced(work: str) -> str:
    """The work without the words that only announce the answer."""
    while (shorter := ANNOUNCED.sub("", work.rstrip()[-TAIL:])) != work.rstrip()[-TAIL:]:
        work = work.rstrip()[:-TAIL] + shorter
    return work.rstrip()
