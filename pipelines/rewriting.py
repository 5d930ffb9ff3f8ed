"""A reader's version of a solution, written by a model, and the check that it is still right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.chat import TAGS, final_answer, shown
from pipelines.context import Context
from pipelines.curation import Row, curate, step, thinking_words
from pipelines.drawing import Draw, draw_groups, grade
from pipelines.harvest import HarvestSettings
from pipelines.house_form import house_form

WRITER_PROMPT = """\
Below are a problem and a draft of its solution. Rewrite the draft so that a reader can follow it. Keep its ideas, its \
steps and its final answer; do not solve the problem anew. Write in the language of the problem, in the first person \
and in short paragraphs, without headings and lists: say what is asked, reason step by step, check the result.

Put the reasoning between <think> and </think>. Then put a short solution with the final answer between <answer> and \
</answer>. Write nothing else.

Problem:
{problem}

Draft:
{draft}
"""
PLACES = re.compile(r"\{(problem|draft)\}")


class WriterSettings(BaseModel):
    """How the writing model is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    writer_prompt: str = Field(
        "", description="text file with {problem} and {draft}: what the writer is asked; empty = the house's"
    )
    writer_template: Literal["chat", "plain"] = Field("chat", description="template of the writer's prompt")
    writer_temperature: float = Field(0.6, ge=0, description="sampling temperature of the writer; 0 = greedy")
    writer_tokens: int | None = Field(
        None, ge=1, description="longest rewritten solution, tokens; empty = that of max_tokens"
    )


class ColdStartSettings(WriterSettings, HarvestSettings):
    """All that the steps of a cold start look at, whatever its route."""

    min_thinking: int = Field(1, ge=0, description="least words of the thinking; 0 = no filter")


def rewrite(
    ctx: Context, config: ColdStartSettings, writer: Path, prompt: str, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """The rows with the writer's text as `completion`, its `finish` and `n_tokens`. Goes on after a kill."""
    asked = [writer_row(prompt, row) for row in rows]
    changes = {"template": config.writer_template, "max_tokens": config.writer_tokens or config.max_tokens}
    settings = config.model_copy(update=changes)
    draw = Draw(1, config.writer_temperature, 1.0, ctx.seed)
    with ctx.progress("rewrite", len(rows)) as bar:
        groups = draw_groups(writer, asked, draw, ctx.scratch / "rewritten.jsonl", settings, bar, ctx.say)
    written = [group[0] for group in groups]
    return [
        {**row, "completion": house_form(text), "n_tokens": n_tokens, "finish": finish}
        for row, (text, n_tokens, finish) in zip(rows, written, strict=True)
    ]


def verify(
    ctx: Context, config: ColdStartSettings, rows: Sequence[Row], problems: Mapping[str, Row]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(the rows whose completion is fit to learn from, with its own verdict; the filters of the others).

    `problems[id]` has the answer or the tests. A row that was right must be right as it stands now; one that nothing
    could grade before needs no verdict.
    """
    groups = [[(row["completion"], row["n_tokens"], row["finish"])] for row in rows]
    graded = grade(ctx, [problems[str(row["id"])] for row in rows], groups, config)
    left = [
        {**row, "correct": one.correct, "reward": one.reward, "rewards": dict(one.parts) or None, "was": row["correct"]}
        for row, one in zip(rows, graded, strict=True)
    ]
    right = config.keep == "correct"
    checks: dict[str, Callable[[Row], bool]] = {
        "rewrite unfinished": lambda row: row["finish"] != "stop",
        "not in house form": lambda row: final_answer(row["completion"]) is None,
        "too little thinking": lambda row: thinking_words(row["completion"]) < config.min_thinking,
        "rewrite not graded": lambda row: right and row["was"] is not None and row["correct"] is None,
        "rewrite wrong": lambda row: right and row["correct"] is False,
    }
    steps = []
    for name, drops in checks.items():
        steps.append(step(name, [row for row in left if drops(row)]))
        left = [row for row in left if not drops(row)]
    return [{key: value for key, value in row.items() if key != "was"} for row in left], steps


def unreadable(
    config: ColdStartSettings, rows: Sequence[Row], contaminated: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(the rewritten rows that pass the filters which their drafts had passed; the filter of the others)."""
    again = config.model_copy(update={"keep": "all", "cap": 0, "pass_rate": (0.0, 1.0)})
    numbered = [{**row, "place": i} for i, row in enumerate(rows)]
    kept = {row["place"] for row in curate(numbered, again, contaminated)[0]}
    dropped = [row for i, row in enumerate(rows) if i not in kept]
    return [dict(row) for i, row in enumerate(rows) if i in kept], [step("rewrite unreadable", dropped)]


def writer_row(prompt: str, row: Row) -> dict[str, Any]:
    """What the writer is asked about a row.

    The draft is a model's text: the house's tags are taken out of it, so that it cannot end a part.
    """
    draft = str(row["original"])
    for tag in TAGS:
        draft = draft.replace(tag, "\n")
    texts = {"problem": shown(row), "draft": draft.strip()}
    return {"id": row["id"], "prompt": PLACES.sub(lambda found: texts[found[1]], prompt)}
