"""`sample`: rejection sampling: draw many completions per problem, keep the correct and readable ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pipelines.artifacts import Model, Problems, RewardModel, Samples, read_rows, write_rows
from pipelines.contamination import Screen
from pipelines.context import Context
from pipelines.curation import Filters, curate
from pipelines.drawing import Draw, DrawSettings, Graded, Row, check_engine, draw_chunks, grade_with, mean_tokens
from pipelines.funnel import tally, total
from pipelines.grading import make_scorer
from pipelines.keys import path_digest
from pipelines.shards import Shards
from pipelines.stage import StageConfig, StageError, stage

PROBLEMS = "problems.parquet"  # beside the kept rows: every problem with its pass rate and its yield


class SampleConfig(DrawSettings, Filters, StageConfig):
    """Rejection sampling. R1 does not publish its samples per prompt; temperature 1.0 is that of its cold start."""

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


def _check(config: SampleConfig) -> Iterable[str]:
    return check_engine(config)


@stage(version=4, summary="rejection sampling: draw, grade, filter, deduplicate", check=_check)
def sample(
    ctx: Context,
    config: SampleConfig,
    *,
    model: Model,
    problems: Problems,
    against: list[Problems] | None = None,
    helpful: RewardModel | None = None,
    safety: RewardModel | None = None,
) -> Samples:
    screen = Screen(against, ngram=config.ngram, near=config.near) if against else None
    given: list[Row] = config.chosen(read_rows(problems))
    rows, before = screen.problems(given) if screen is not None else (given, [])
    if not rows:
        raise StageError(f"there are no problems to draw from ({len(given)} given, {len(given) - len(rows)} dropped)")
    shards = Shards(ctx.scratch / "shards", ctx.say)
    count = -(-len(rows) // config.chunk)
    missing = [i for i in range(count) if shards.read(i) is None]
    _harvest(ctx, config, model.path, rows, shards, screen, missing, {"helpful": helpful, "safety": safety})
    made = [one for i in range(count) if (one := shards.read(i)) is not None]
    assert len(made) == count, "a shard was damaged while it was being made"
    tallies = [problem for one in made for problem in one["problems"]]
    funnel = total([one["funnel"] for one in made], tallies, before)
    if not funnel["kept"]:
        worst = max(funnel["filters"], key=lambda step: step["dropped"])
        raise StageError(f"none of {funnel['input']} completions is left; most fell to {worst['name']!r}")
    shards.join(ctx.out, count)
    write_rows(ctx.out / PROBLEMS, tallies)
    (ctx.out / "funnel.json").write_text(json.dumps(funnel, indent=1))
    if quarantine := "".join(one["quarantine"] for one in made):
        (ctx.out / "quarantine.jsonl").write_text(quarantine)
    counts = {"problems": len(rows), "problems_kept": funnel["problems_kept"], "contaminated": len(given) - len(rows)}
    dropped = {f"dropped/{step['name']}": step["dropped"] for step in funnel["filters"]}
    ctx.summary(drawn=funnel["input"], kept=funnel["kept"], **counts, **dropped)
    return Samples(ctx.out)


def _harvest(
    ctx: Context,
    config: SampleConfig,
    model: Path,
    rows: Sequence[Row],
    shards: Shards,
    screen: Screen | None,
    missing: Sequence[int],
    judges: Mapping[str, RewardModel | None],
) -> None:
    """Draw, grade and filter every missing shard; each is kept on the disk before the next one begins."""
    draw = Draw(config.n, config.temperature, config.top_p, ctx.seed)
    quarantine, digest = ctx.scratch / "quarantine.jsonl", path_digest(model)
    quarantine.unlink(missing_ok=True)  # of a shard that was not finished
    if not missing:
        return
    left = sum(len(rows[i * config.chunk : (i + 1) * config.chunk]) for i in missing)
    grading = make_scorer(ctx, config.rewards, **judges, rows=rows, quarantine=quarantine)
    chunks = draw_chunks(model, rows, draw, config, [i * config.chunk for i in missing])
    with grading as scorer, closing(chunks), ctx.progress("sample", len(rows)) as bar:
        bar.advance(len(rows) - left)
        for first, groups in chunks:
            asked = rows[first : first + config.chunk]
            graded, index = grade_with(scorer, asked, groups, config), first // config.chunk
            told = {"source": "sample", "model": digest, "seed": ctx.seed, "shard": index}
            candidates = [{**_candidate(one, i % config.n), **told} for i, one in enumerate(graded)]
            kept, funnel = curate(candidates, config, screen.completions if screen is not None else None)
            failed = quarantine.read_text() if quarantine.exists() else ""
            shards.write(index, kept, {"funnel": funnel, "problems": tally(candidates, kept), "quarantine": failed})
            quarantine.unlink(missing_ok=True)
            bar.advance(len(asked), kept=len(kept), tokens=mean_tokens(groups))


def _candidate(one: Graded, number: int) -> dict[str, Any]:
    """A Samples row with what a reader needs to trust it: its place among the draws, its verdict, its rewards."""
    told = {name: one.row.get(name) for name in ("id", "prompt", "family", "kind", "system")}
    told |= {"messages": one.row["messages"]} if one.row.get("messages") else {}
    made = {"completion": one.completion, "finish": one.finish, "n_tokens": one.n_tokens, "sample": number}
    return {**told, **made, "correct": one.correct, "reward": one.reward, "rewards": dict(one.parts) or None}
