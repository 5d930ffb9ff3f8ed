"""The `code` reward: run the answer's program on the problem's tests."""

from __future__ import annotations

import re
from typing import Any

from rewards.code.run import run
from rewards.code.types import InfrastructureError, Level, Limits
from rewards.registry import reward
from rollout.types import Sample

PYTHON = ("python", "python3", "py", "py3")
FENCE = re.compile(r"([^`~]*+)(```++|~~~++)[ \t]*+([\w+-]*+)([^`]*+)")  # possessive: hostile lines take linear time
LISTED = re.compile(r"\s*(?:[-*+]|\d+[.)])?\s*")
PROGRAM = re.compile(r"^\s*(?:def|class|import|from|print)\b", re.MULTILINE)
CLOSED = re.compile(r"^([ \t]*+(?:```++|~~~++))[ \t]*+</(?:think|answer)>.*+", re.MULTILINE)
TAG = re.compile(r"</?(?:think|answer)>")
DOUBLE: dict[str, Any] = {"tests": '{"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}'}
ECHO: dict[str, Any] = {"tests": '{"type": "stdin", "cases": [{"input": "3\\n", "output": "6\\n"}]}'}


def extract_code(completion: str, *, stated: bool = False) -> str | None:
    """The program of a completion: after `</think>`, inside the last `<answer>`, the last fenced block.

    A block in another language than Python does not count, nor does one that is not closed. A block of no language
    counts where it looks like a program, or there is no better: it may be sample output. Without any fence, an
    answer that defines a function or imports or prints something is taken as it is. `stated`: without `<answer>`, the
    answer is what follows the last "Answer:", on the same line or below. Tags in a string or comment of a fenced block
    are none.
    """
    completion = completion.replace("\r\n", "\n")
    outline = _without_quoted_tags(completion)  # as long as the completion
    closed = outline.rfind("</think>")
    if closed < 0 and "<think>" in outline:
        return None
    start, end = closed + len("</think>") if closed >= 0 else 0, len(outline)
    answered = outline.find("<answer>", start) >= 0
    if answered:
        end = outline.rfind("</answer>", start)
        if end < 0:
            return None
        opened = outline.rfind("<answer>", start, end)
        start = opened + len("<answer>") if opened >= 0 else start
    text = completion[start:end]
    if stated and not answered:
        text = text.rpartition("Answer:")[2].lstrip()
    blocks = fenced_blocks(text)
    if blocks:
        found = [(language.lower(), body) for language, body, _ in blocks]
        good = [body for language, body in found if language in PYTHON or (not language and PROGRAM.search(body))]
        return next(reversed(good or [body for language, body in found if not language]), None)
    return text.strip() if PROGRAM.search(text) else None


def fenced_blocks(text: str) -> list[tuple[str, str, range]]:
    """Language, content and line numbers of each closed fenced block, in one pass.

    The opening fence may stand behind words, with Python's name, and the closing one behind the last line of code.
    """
    blocks: list[tuple[str, str, range]] = []
    fence, language, indent, first, quotes = "", "", 0, 0, 0
    body: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if not fence:
            opened = FENCE.fullmatch(line)
            listed = opened is not None and LISTED.fullmatch(opened[1]) is not None
            if opened and (not opened[1].strip() or (opened[3].lower() in PYTHON and not opened[4].strip())):
                indent, fence, language = len(opened[1]) if listed else 0, opened[2], opened[3]
                first, quotes, body = number + 1, 0, []
            continue
        if body == [] or not any(body):
            indent = min(indent, len(line) - len(line.lstrip())) if line.strip() else indent
        bare = line.strip()
        quotes += line.count('"""') + line.count("'''")
        glued = bare.endswith(fence) and quotes % 2 == 0 and "#" not in line
        if glued or (bare.startswith(fence) and not bare.strip(fence[0])):
            rest = line.rstrip().rstrip(fence[0])
            body += [rest] if rest.strip() else []
            dedented = [one[min(indent, len(one) - len(one.lstrip())) :] + "\n" for one in body]
            blocks.append((language, "".join(dedented), range(first, number + 1)))
            fence = ""
        else:
            body.append(line)
    return blocks


def _without_quoted_tags(text: str) -> str:
    """The text with something else of the same length in place of tags that a program writes or speaks of."""
    lines = text.split("\n")
    for _, _, inside in fenced_blocks(CLOSED.sub(r"\1", text)):
        for number in inside:
            lines[number] = TAG.sub(_blanked, lines[number])
    return "\n".join(lines)


def _blanked(tag: re.Match[str]) -> str:
    before = tag.string[: tag.start()]
    quoted = before.count("'") % 2 or before.count('"') % 2 or "#" in before
    return " " * len(tag[0]) if quoted else tag[0]


@reward(
    name="code",
    cases=[
        ("gold", "<think>2x</think><answer>\n```python\ndef f(x):\n    return 2 * x\n```\n</answer>", {"row": DOUBLE}),
        ("gold", "<answer>def f(x):\n    return x + x</answer>", {"row": DOUBLE}),
        ("gold", "<answer>\n```python\nprint(2 * int(input()))\n```\n</answer>", {"row": ECHO}),
        ("junk", "<answer>\n```python\ndef f(x):\n    return x + 1\n```\n</answer>", {"row": DOUBLE}),
        ("junk", "<answer>\n```python\nimport os\ndef f(x):\n    os._exit(0)\n```\n</answer>", {"row": DOUBLE}),
        ("junk", "<think>```python\ndef f(x):\n    return 2 * x\n```", {"row": DOUBLE}),
        ("none", "<answer>12</answer>"),
    ],
)
def code_reward(
    s: Sample,
    *,
    stated: bool = False,
    partial: bool = False,
    cpu_s: float = 4.0,
    idle_s: float = 4.0,
    memory_mb: int = 1024,
    min_level: Level = "kernel",
) -> float | None:
    """1 if the program passes all tests of the row, else 0 (`partial`: the weighted share of tests passed).

    `stated` takes the program after "Answer:" as well, as a base writes it in plain text (R1-Zero). A row's `preamble`
    (given imports and helpers) is put before the program. `cpu_s`, `idle_s` and `memory_mb` limit each test; below the
    isolation level `min_level` nothing is run. Does not apply to rows without `tests`. Raises where the sandbox itself
    failed: that is an error, not a 0.
    """
    tests = s.row.get("tests")
    if not tests:
        return None
    program = extract_code(s.completion, stated=stated)
    if program is None or not program.strip():
        return 0.0
    program = (s.row.get("preamble") or "") + program
    limits = Limits(cpu_s=cpu_s, idle_s=idle_s, total_cpu_s=5 * cpu_s, memory_bytes=memory_mb << 20)
    report = run(program, tests, limits=limits, stop_early=not partial, min_level=min_level)
    if "infrastructure_error" in report.verdicts:
        raise InfrastructureError(report.detail)
    return report.fraction if partial else float(report.passed)
