"""Completions drawn, graded and filtered a shard of problems at a time: what `sample` and `cold-start` share.

Each shard is on the disk, sealed, before the next one begins: a killed stage goes on after its last one and ends with
the rows of an uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pipelines.artifacts import Problems, RewardModel, write_rows
from pipelines.contamination import Screen
from pipelines.context import Context
from pipelines.curation import Filters, curate
from pipelines.drawing import Draw, DrawSettings, Graded, Group, Row, draw_chunks, grade_with, mean_tokens
from pipelines.funnel import tally, total
from pipelines.grading import make_scorer
from pipelines.keys import path_digest
from pipelines.shards import Shards
from pipelines.stage import StageError

PROBLEMS = "problems.parquet"  # beside the kept rows: every problem with its pass rate and its yield


class HarvestSettings(DrawSettings, Filters):
    """What to draw, from which problems, and what to keep. Temperature 1.0 is that of R1's cold start."""

    n: int = Field(8, ge=1, description="completions drawn for each problem")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0 = greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    limit: int = Field(0, ge=0, description="use the first N problems only; 0 = all")
    part: str = Field("1/1", description="which part of the problems: 2/4 = the second of four, for four machines")
    ngram: int = Field(10, ge=0, description="with `against`: words in a row that make a repeat (R1: 10); 0 = off")
    near: float = Field(
        0.8, ge=0, le=1, description="with `against`: least similarity of a near repeat (Jaccard, 3-grams); 0 = off"
    )

    @field_validator("part")
    @classmethod
    def _part(cls, text: str) -> str:
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ValueError(f"must be i/n with 1 <= i <= n, as in 2/4, not {text!r}")
        return text

    def chosen(self, rows: Sequence[Row]) -> list[Row]:
        """The problems of this part."""
        number, _, of = self.part.partition("/")
        return list(rows[: self.limit or None][int(number) - 1 :: int(of)])

    def screen(self, against: Sequence[Problems] | None) -> Screen | None:
        """What finds repeats of evaluation rows; None where there are none to repeat."""
        return Screen(against, ngram=self.ngram, near=self.near) if against else None


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Manner:
    """How a stage asks and reads: nothing is changed unless it says so.

    ask: the row that is rendered for a problem. trim: the part of a drawn text that counts, before it is graded. form:
    the text that is filtered and kept, from the problem and the graded text; what was drawn is then kept as `original`.
    judges: reward models for the reward `preference` (`pipelines.grading`).
    """

    source: str
    ask: Callable[[Row], Row] = _as_it_is
    trim: Callable[[Group], Group] = _as_it_is
    form: Callable[[Row, str], str] | None = None
    judges: Mapping[str, RewardModel | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Harvest:
    """What was drawn: `count` shards of kept rows, and what lies beside them."""

    shards: Shards
    count: int
    tallies: list[dict[str, Any]]
    funnel: dict[str, Any]
    quarantine: str
    contaminated: int

    def write(self, out: Path) -> None:
        """The kept rows, the problems and the quarantine; the funnel is the stage's to write."""
        self.shards.join(out, self.count)
        self.write_beside(out)

    def write_beside(self, out: Path) -> None:
        """What lies beside the rows: each problem's tally, and the samples whose grading failed."""
        write_rows(out / PROBLEMS, self.tallies)
        if self.quarantine:
            (out / "quarantine.jsonl").write_text(self.quarantine)


def harvest(
    ctx: Context, config: HarvestSettings, model: Path, problems: Sequence[Row], screen: Screen | None, manner: Manner
) -> Harvest:
    """Draw `config.n` completions for each problem, and keep what the filters leave; StageError where that is nothing.

    Shards made before a kill are taken as they are.
    """
    given = config.chosen(problems)
    rows, before = screen.problems(given) if screen is not None else (given, [])
    if not rows:
        raise StageError(f"there are no problems to draw from ({len(given)} given, {len(given) - len(rows)} dropped)")
    shards = Shards(ctx.scratch / "shards", ctx.say)
    count = -(-len(rows) // config.chunk)
    missing = [i for i in range(count) if shards.read(i) is None]
    if missing:
        _draw(ctx, config, model, rows, shards, screen, manner, missing)
    made = [one for i in range(count) if (one := shards.read(i)) is not None]
    assert len(made) == count, "a shard was damaged while it was being made"
    tallies = [problem for one in made for problem in one["problems"]]
    funnel = total([one["funnel"] for one in made], tallies, before)
    check_kept(funnel)
    quarantine = "".join(one["quarantine"] for one in made)
    return Harvest(shards, count, tallies, funnel, quarantine, len(given) - len(rows))


def check_kept(funnel: Mapping[str, Any]) -> None:
    """StageError with what every filter took, where nothing is left."""
    if not funnel["kept"]:
        taken = ", ".join(f"{step['dropped']} {step['name']}" for step in funnel["filters"] if step["dropped"])
        raise StageError(f"none of {funnel['input']} completions is left: {taken}")


def summarise(ctx: Context, funnel: Mapping[str, Any], contaminated: int) -> None:
    """Write the funnel and put its counts into the manifest."""
    (ctx.out / "funnel.json").write_text(json.dumps(funnel, indent=1))
    counts = {
        "problems": funnel["problems"],
        "problems_kept": funnel["problems_kept"],
        "contaminated": contaminated,
    }
    dropped = {f"dropped/{step['name']}": step["dropped"] for step in funnel["filters"]}
    ctx.summary(drawn=funnel["input"], kept=funnel["kept"], **counts, **dropped)


def _draw(
    ctx: Context,
    config: HarvestSettings,
    model: Path,
    rows: Sequence[Row],
    shards: Shards,
    screen: Screen | None,
    manner: Manner,
    missing: Sequence[int],
) -> None:
    """Draw, grade and filter every missing shard; each is kept on the disk before the next one begins."""
    draw = Draw(config.n, config.temperature, config.top_p, ctx.seed)
    quarantine, digest = ctx.scratch / "quarantine.jsonl", path_digest(model)
    quarantine.unlink(missing_ok=True)  # of a shard that was not finished
    left = sum(len(rows[i * config.chunk : (i + 1) * config.chunk]) for i in missing)
    grading = make_scorer(ctx, config.rewards, **manner.judges, rows=rows, quarantine=quarantine)
    asked = [manner.ask(row) for row in rows]
    chunks = draw_chunks(model, asked, draw, config, [i * config.chunk for i in missing])
    with grading as scorer, closing(chunks), ctx.progress(manner.source, len(rows)) as bar:
        bar.advance(len(rows) - left)
        for first, groups in chunks:
            part, index = rows[first : first + config.chunk], first // config.chunk
            graded = grade_with(scorer, part, [manner.trim(group) for group in groups], config)
            told = {"source": manner.source, "model": digest, "seed": ctx.seed, "shard": index}
            candidates = [{**_candidate(one, i % config.n, manner), **told} for i, one in enumerate(graded)]
            kept, funnel = curate(candidates, config, screen.completions if screen is not None else None)
            failed = quarantine.read_text() if quarantine.exists() else ""
            shards.write(index, kept, {"funnel": funnel, "problems": tally(candidates, kept), "quarantine": failed})
            quarantine.unlink(missing_ok=True)
            bar.advance(len(part), kept=len(kept), tokens=mean_tokens(groups))


def _candidate(one: Graded, number: int, manner: Manner) -> dict[str, Any]:
    """A Samples row with what a reader needs to trust it: its place among the draws, its verdict, its rewards."""
    told = {name: one.row.get(name) for name in ("id", "prompt", "family", "kind", "system")}
    told |= {"messages": one.row["messages"]} if one.row.get("messages") else {}
    drawn = {}
    if manner.form is not None:
        one, drawn = replace(one, completion=manner.form(one.row, one.completion)), {"original": one.completion}
    made = {"completion": one.completion, **drawn, "finish": one.finish, "n_tokens": one.n_tokens, "sample": number}
    return {**told, **made, "correct": one.correct, "reward": one.reward, "rewards": dict(one.parts) or None}
