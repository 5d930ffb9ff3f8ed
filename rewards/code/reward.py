"""The `code` reward: run the answer's program on the problem's tests."""

from __future__ import annotations

import re
from typing import Any

from rewards.code.run import run
from rewards.code.types import InfrastructureError, Level, Limits
from rewards.registry import reward
from rollout.types import Sample

PYTHON = ("", "python", "python3", "py")
FENCE = re.compile(r"([ \t]*)(```+|~~~+)[ \t]*([\w+-]*)[^`]*")
DOUBLE: dict[str, Any] = {"tests": '{"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}'}
ECHO: dict[str, Any] = {"tests": '{"type": "stdin", "cases": [{"input": "3\\n", "output": "6\\n"}]}'}


def extract_code(completion: str, *, stated: bool = False) -> str | None:
    """The program of a completion: after `</think>`, inside the last `<answer>`, the last fenced block.

    A block in another language than Python does not count, nor does one that is not closed. Without any fence, an
    answer that defines a function or imports or prints something is taken as it is. `stated`: without `<answer>`, the
    answer is what follows the last "Answer:", on the same line or below.
    """
    _, closed, text = completion.rpartition("</think>")
    if not closed and "<think>" in completion:
        return None
    if "<answer>" in text:
        inside, ended, _ = text.rpartition("</answer>")
        if not ended:
            return None
        text = inside.rpartition("<answer>")[2]
    elif stated:
        text = text.rpartition("Answer:")[2].lstrip()
    blocks = fenced_blocks(text)
    if blocks:
        return next((body for language, body in reversed(blocks) if language.lower() in PYTHON), None)
    return text.strip() if re.search(r"^\s*(?:def|class|import|from|print)\b", text, re.MULTILINE) else None


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each closed fenced block, in one pass."""
    blocks: list[tuple[str, str]] = []
    fence, language, indent = "", "", 0
    body: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                blocks.append((language, "".join(body)))
                fence = ""
            else:
                body.append(line[min(indent, len(line) - len(line.lstrip())) :] + "\n")
        elif opened := FENCE.fullmatch(line):
            indent, fence, language, body = len(opened[1]), opened[2], opened[3], []
    return blocks


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
