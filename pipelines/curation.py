"""Rejection sampling: which of many completions are worth training on, as a funnel that counts every filter.

DeepSeek-R1 (arXiv 2501.12948v2, B.3.3) samples several responses per prompt, keeps the correct ones, and drops
thinking with mixed languages, long paragraphs or code blocks; its cold start (B.3.2) drops repetition too. No threshold
is published: those here are ours. MiMo-7B caps at 8 responses per prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from rewards.language import Language, count_words

Row = Mapping[str, Any]
EXAMPLES = 3  # dropped completions shown for every filter
EXAMPLE_CHARS = 600

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_RUN = re.compile(r"(\S)\1{31,}")


class Filters(BaseModel):
    """The knobs of `curate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Literal["correct", "all", "best", "shortest"] = Field(
        "correct",
        description="correct: only those, in the order drawn; best, shortest: correct ones by reward or by length; "
        "all: whatever the verdict",
    )
    cap: int = Field(8, ge=1, description="completions kept per problem (MiMo: 8)")
    language: Literal["prompt"] | Language = Field(
        "prompt", description="language of the thinking: en, zh, ... or prompt"
    )
    min_language: float = Field(
        0.9, ge=0, le=1, description="least share of the thinking's words in that language; 0 = no filter"
    )
    max_paragraph: int = Field(2000, ge=0, description="longest paragraph of the thinking, characters; 0 = no filter")
    drop_code: bool = Field(True, description="drop completions with a code block in the thinking")
    max_repetition: float = Field(
        0.5, ge=0, le=1, description="largest share of the 8-word sequences that are repeats; 1 = no filter"
    )
    max_kept_tokens: int = Field(0, ge=0, description="longest completion kept, tokens; 0 = no filter")


def curate(rows: Sequence[Row], filters: Filters) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Filter completions; returns (kept rows in input order of their problems, funnel).

    A row needs `id`, `prompt`, `completion`, `finish`, `n_tokens`, `correct` (None: not graded) and `reward`. A kept
    row gains `rank`: 0 for the first of its problem under `keep`. The funnel is {"input", "filters": [{"name",
    "dropped", "examples"}], "kept", "problems", "problems_kept"}; filters come in the order they are applied in.
    """
    left: list[Row] = list(rows)
    steps = []
    for name, drops in _checks(filters):
        verdicts = [drops(row) for row in left]
        steps.append(_step(name, [row for row, drop in zip(left, verdicts, strict=True) if drop]))
        left = [row for row, drop in zip(left, verdicts, strict=True) if not drop]
    left, dropped = _distinct(left)
    steps.append(_step("duplicate", dropped))
    ranked, dropped = _rank(left, filters)
    steps.append(_step("over the cap", dropped))
    funnel = {
        "input": len(rows),
        "filters": steps,
        "kept": len(ranked),
        "problems": len({row["id"] for row in rows}),
        "problems_kept": len({row["id"] for row in ranked}),
    }
    return ranked, funnel


def _checks(filters: Filters) -> Iterable[tuple[str, Callable[[Row], bool]]]:
    """(name, does it drop this row) for the filters that look at one completion, cheap ones first."""
    yield "unfinished", lambda row: row["finish"] != "stop" or thinking(row["completion"]) is None
    if filters.keep != "all":
        yield "not graded", lambda row: row["correct"] is None
        yield "wrong", lambda row: not row["correct"]
    if filters.max_kept_tokens:
        yield "too long", lambda row: row["n_tokens"] > filters.max_kept_tokens
    if filters.min_language:
        yield (
            "mixed language",
            lambda row: (
                language_share(thinking(row["completion"]) or "", row["prompt"], filters.language)
                < filters.min_language
            ),
        )
    if filters.max_paragraph:
        yield "long paragraph", lambda row: longest_paragraph(thinking(row["completion"]) or "") > filters.max_paragraph
    if filters.drop_code:
        yield "code in thinking", lambda row: "```" in (thinking(row["completion"]) or "")
    if filters.max_repetition < 1:
        yield "repetition", lambda row: repetition(row["completion"]) > filters.max_repetition


def thinking(completion: str) -> str | None:
    """The text between `<think>` and `</think>`; all of a completion without tags; None where it never ends."""
    head, closed, _ = completion.partition("</think>")
    if not closed and "<think>" in completion:
        return None
    return head.partition("<think>")[2] if "<think>" in head else head


def language_share(text: str, prompt: str, target: Language | Literal["prompt"] = "prompt") -> float:
    """Share of the words of `text` in language `target`, 0..1 (R1's measure, eq. 7; words as in `rewards.language`).

    `prompt` stands for the language that most words of the prompt are in. 1.0 where there are no words to judge.
    """
    if not count_words(text, "en"):
        return 1.0
    counted = count_words(text, _language_of(prompt) if target == "prompt" else target)
    return counted["target"] / counted.total()


@lru_cache(maxsize=4096)
def _language_of(prompt: str) -> Language:
    names: tuple[Language, ...] = get_args(Language)
    return max(names, key=lambda name: count_words(prompt, name)["target"])  # on a tie: English, the first


def longest_paragraph(text: str) -> int:
    """Characters of the longest paragraph; an empty line ends one."""
    return max((len(part.strip()) for part in re.split(r"\n\s*\n", text)), default=0)


def repetition(text: str, *, n: int = 8) -> float:
    """Share of the `n`-word sequences that occurred before, 0..1; 1.0 if one character fills 32 places in a row.

    A word is a run of letters or digits, a Chinese or Japanese character, or a punctuation mark. Fewer than 2 * n
    words hold no loop worth the name: 0.0.
    """
    if _RUN.search(text):
        return 1.0
    words = _TOKEN.findall(text)
    if len(words) < 2 * n:
        return 0.0
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams)


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(first of each completion per problem, the rest); white space at either end is no difference."""
    seen: set[tuple[str, str]] = set()
    first: list[Row] = []
    again: list[Row] = []
    for row in rows:
        key = (str(row["id"]), row["completion"].strip())
        (again if key in seen else first).append(row)
        seen.add(key)
    return first, again


def _rank(rows: Sequence[Row], filters: Filters) -> tuple[list[dict[str, Any]], list[Row]]:
    by_problem: dict[str, list[Row]] = {}
    for row in rows:
        by_problem.setdefault(str(row["id"]), []).append(row)
    kept: list[dict[str, Any]] = []
    dropped: list[Row] = []
    for group in by_problem.values():
        if filters.keep == "best":
            group.sort(key=lambda row: -(row["reward"] or 0.0))
        elif filters.keep == "shortest":
            group.sort(key=lambda row: row["n_tokens"])
        kept += [{**row, "rank": rank} for rank, row in enumerate(group[: filters.cap])]
        dropped += group[filters.cap :]
    return kept, dropped


def _step(name: str, dropped: Sequence[Row]) -> dict[str, Any]:
    examples = [f"{row['prompt']}\n{row['completion']}"[:EXAMPLE_CHARS] for row in dropped[:EXAMPLES]]
    return {"name": name, "dropped": len(dropped), "examples": examples}
