"""Rejection sampling: which of many completions are worth training on, as a funnel that counts every filter.

DeepSeek-R1 (arXiv 2501.12948v2, B.3.3) samples several responses per prompt, keeps the correct ones, and drops
thinking with mixed languages, long paragraphs or code blocks; its cold start (B.3.2) drops repetition too. No threshold
is published: those here are ours. MiMo-7B caps at 8 responses per prompt. Every filter looks at the completions of one
problem at most, so that problems can be curated a shard at a time; `pipelines.funnel` adds the shards up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.chat import shown
from pipelines.overlap import jaccard, shingles, word_ids
from rewards.language import Language, count_words

Row = Mapping[str, Any]
EXAMPLES = 3  # dropped completions shown for every filter
EXAMPLE_CHARS = 600

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_RUN = re.compile(r"(\S)\1{31,}")


def _band(band: tuple[float, float]) -> tuple[float, float]:
    low, high = band
    if not 0 <= low <= high <= 1:
        raise ValueError(f"pass_rate [{low:g}, {high:g}] is no band: two shares of 0 to 1, the smaller one first")
    return band


Band = Annotated[tuple[float, float], AfterValidator(_band)]
"""Least and largest share of right answers, both included."""


class Filters(BaseModel):
    """The knobs of `curate`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    keep: Literal["correct", "all"] = Field("correct", description="correct: only those; all: whatever the verdict")
    select: Literal["all", "shortest", "best", "diverse"] = Field(
        "all",
        description="which ones the cap leaves: all: the first drawn; shortest: fewest tokens; best: highest reward; "
        "diverse: each as unlike those before it as can be",
    )
    cap: int = Field(8, ge=0, description="completions kept per problem (MiMo: 8); 0 = no cap")
    pass_rate: Band = Field(
        (0.0, 1.0), description="least and largest share of right answers of a problem that is kept, as in [0.1, 0.9]"
    )
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
    min_thinking: int = Field(0, ge=0, description="least words of the thinking; 0 = no filter")
    near_duplicate: float = Field(
        0.9, ge=0, le=1, description="drop a completion at least this similar to an earlier one of its problem; 0 = off"
    )


def curate(
    rows: Sequence[Row], filters: Filters, contaminated: Callable[[Sequence[str]], Sequence[bool]] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Filter completions; returns (kept rows in input order of their problems, funnel).

    A row needs `id`, `prompt`, `completion`, `finish`, `n_tokens`, `correct` (None: not graded) and `reward`. A kept
    row gains `pass_rate`, the share of right ones among its problem's graded completions, and `rank`: 0 for the first
    of its problem under `select`. `contaminated` says for each of some texts whether it repeats an evaluation row. The
    funnel is {"input", "filters": [{"name", "dropped", "examples"}], "kept"}, filters in the order of application.
    """
    rates = pass_rates(rows)
    left: list[Row] = list(rows)
    steps = []

    def drop(name: str, verdicts: Sequence[bool]) -> None:
        nonlocal left
        steps.append(step(name, [row for row, bad in zip(left, verdicts, strict=True) if bad]))
        left = [row for row, bad in zip(left, verdicts, strict=True) if not bad]

    for name, drops in _checks(filters, rates):
        drop(name, [drops(row) for row in left])
    if contaminated is not None:
        drop("contaminated", contaminated([row["completion"] for row in left]))
    drop("duplicate", _repeated(left))
    if filters.near_duplicate:
        drop("near duplicate", _nearly_repeated(left, filters.near_duplicate))
    ranks = _ranks(left, filters)
    if filters.cap:
        drop("over the cap", [rank >= filters.cap for rank in ranks])
        ranks = [rank for rank in ranks if rank < filters.cap]
    order = {id: place for place, id in enumerate(rates)}
    ranked = sorted(zip(ranks, left, strict=True), key=lambda pair: (order[str(pair[1]["id"])], pair[0]))
    kept = [{**row, "pass_rate": rates[str(row["id"])], "rank": rank} for rank, row in ranked]
    return kept, {"input": len(rows), "filters": steps, "kept": len(kept)}


def pass_rates(rows: Sequence[Row]) -> dict[str, float | None]:
    """Share of right ones among each problem's graded completions; None where none was graded."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        graded = verdicts.setdefault(str(row["id"]), [])
        if row["correct"] is not None:
            graded.append(bool(row["correct"]))
    return {id: sum(graded) / len(graded) if graded else None for id, graded in verdicts.items()}


def _checks(filters: Filters, rates: Mapping[str, float | None]) -> Iterable[tuple[str, Callable[[Row], bool]]]:
    """(name, does it drop this row) for the filters that look at one completion, cheap ones first."""
    (low, high), right = filters.pass_rate, filters.keep == "correct"
    yield "unfinished", lambda row: row["finish"] != "stop" or thinking(row["completion"]) is None
    if right:
        yield "not graded", lambda row: row["correct"] is None
        yield "wrong", lambda row: not row["correct"]
    if low > 0:
        yield "too hard", lambda row: (rates[str(row["id"])] or 0.0) < low
    if high < 1:
        yield "too easy", lambda row: (rates[str(row["id"])] or 0.0) > high
    if filters.max_kept_tokens:
        yield "too long", lambda row: row["n_tokens"] > filters.max_kept_tokens
    if filters.min_thinking:
        yield "too little thinking", lambda row: thinking_words(row["completion"]) < filters.min_thinking
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


def thinking_words(completion: str) -> int:
    """Words, numbers and signs between the thinking tags; of a completion without them: all of it."""
    return len(word_ids(thinking(completion) or "", {}))


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


def _repeated(rows: Sequence[Row]) -> list[bool]:
    """Whether an earlier completion of the same problem is the same; white space at either end is no difference."""
    seen: set[tuple[str, str]] = set()
    found = []
    for row in rows:
        key = (str(row["id"]), row["completion"].strip())
        found.append(key in seen)
        seen.add(key)
    return found


def _nearly_repeated(rows: Sequence[Row], least: float) -> list[bool]:
    """Whether a completion is at least this similar to an earlier one of its problem that stays."""
    stay: dict[str, list[frozenset[int]]] = {}
    found = []
    for row in rows:
        mine, others = _grams(row), stay.setdefault(str(row["id"]), [])
        found.append(any(jaccard(mine, other) >= least for other in others))
        if not found[-1]:
            others.append(mine)
    return found


def _grams(row: Row) -> frozenset[int]:
    return shingles(word_ids(row["completion"], {}))


def _ranks(rows: Sequence[Row], filters: Filters) -> list[int]:
    """The place of each row among those of its problem under `select`, from 0."""
    by_problem: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        by_problem.setdefault(str(row["id"]), []).append(i)
    ranks = [0] * len(rows)
    for group in by_problem.values():
        if filters.select == "best":
            group.sort(key=lambda i: -(rows[i]["reward"] or 0.0))
        elif filters.select == "shortest":
            group.sort(key=lambda i: rows[i]["n_tokens"])
        elif filters.select == "diverse":
            group = _farthest_first(group, [_grams(rows[i]) for i in group])
        for rank, i in enumerate(group):
            ranks[i] = rank
    return ranks


def _farthest_first(group: list[int], grams: Sequence[frozenset[int]]) -> list[int]:
    """The first one, then always the one whose nearest neighbour among those before it is farthest (Gonzalez 1985)."""
    nearest, order = [0.0] * len(group), [0]
    while len(order) < len(group):
        nearest = [max(near, jaccard(one, grams[order[-1]])) for near, one in zip(nearest, grams, strict=True)]
        order.append(min(set(range(len(group))) - set(order), key=lambda i: (nearest[i], i)))
    return [group[i] for i in order]


def step(name: str, dropped: Sequence[Row]) -> dict[str, Any]:
    """A filter of a funnel: what it dropped, counted and with a few examples."""
    examples = [f"{shown(row)}\n{row['completion']}"[:EXAMPLE_CHARS] for row in dropped[:EXAMPLES]]
    return {"name": name, "dropped": len(dropped), "examples": examples}
