"""Few-shot prompts for the cold start: solved examples with long thoughts before the problem that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.chat import ANSWER_CLOSE, Template, final_answer, messages
from pipelines.drawing import Group
from pipelines.problems.sources import SourceError, open_source

HOUSE = Path(__file__).parent / "templates" / "exemplars.jsonl"
ASKED = (
    "Solve the last problem in the manner of the examples. Think between <think> and </think>: say in your own words "
    "what is asked, go step by step, and check the result before you trust it. Then give the final answer between "
    "<answer> and </answer>, and write nothing after it."
)


def read_exemplars(file: Path) -> list[Mapping[str, Any]]:
    """Rows {prompt, completion} in the house's form; SourceError where one is not."""
    rows: list[Mapping[str, Any]] = list(open_source(str(file), columns={}))
    for number, row in enumerate(rows, 1):
        texts = row.get("prompt"), row.get("completion")
        if not all(isinstance(text, str) and text.strip() for text in texts) or final_answer(str(texts[1])) is None:
            raise SourceError(
                f"{file}, row {number}: an example is a prompt and a completion <think>...</think><answer>...</answer>"
            )
    if not rows:
        raise SourceError(f"{file}: there are no examples in it")
    return rows


def few_shot(row: Mapping[str, Any], exemplars: Sequence[Mapping[str, Any]], template: Template) -> dict[str, Any]:
    """The row that asks the problem of `row` after the examples.

    The examples stand in one user's turn: as turns of a conversation they would lose their thinking. With `plain` they
    are the problems before this one, written as `models.chat` writes one.
    """
    *context, last = messages(row)
    solved = [f"{one['prompt']}\n{one['completion'].strip()}" for one in exemplars]
    listed = "\n\nProblem: ".join([*solved, last["content"]])
    text = listed if template == "plain" else f"{ASKED}\n\nProblem: {listed}"
    turns = [*context, {"role": "user", "content": text}]
    return {"id": row.get("id"), "messages": turns}


def first_solution(group: Group) -> Group:
    """Each text up to its first `</answer>`: a base goes on with a next problem. What was cut off there has ended."""
    trimmed: Group = []
    for text, n_tokens, finish in group:
        head, closed, _ = text.partition(ANSWER_CLOSE)
        trimmed.append(
            (head + closed, n_tokens, "stop") if closed else (text.partition("\nProblem:")[0], n_tokens, finish)
        )
    return trimmed
