"""`sample`: rejection sampling: draw many completions per problem, keep the correct and readable ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipelines.artifacts import Model, Problems, Samples, read_rows, write_rows
from pipelines.context import Context
from pipelines.curation import Filters, curate
from pipelines.drawing import Draw, DrawSettings, Graded, check_engine, draw_and_grade
from pipelines.keys import path_digest
from pipelines.stage import StageConfig, StageError, stage


class SampleConfig(DrawSettings, Filters, StageConfig):
    """Rejection sampling. R1 does not publish its samples per prompt; temperature 1.0 is that of its cold start."""

    n: int = Field(8, ge=1, description="completions drawn for each problem")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0 = greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    limit: int = Field(0, ge=0, description="use the first N problems only; 0 = all")


def _check(config: SampleConfig) -> Iterable[str]:
    return check_engine(config)


@stage(version=2, summary="rejection sampling: draw, grade, filter, deduplicate", check=_check)
def sample(ctx: Context, config: SampleConfig, *, model: Model, problems: Problems) -> Samples:
    rows = read_rows(problems)[: config.limit or None]
    draw = Draw(config.n, config.temperature, config.top_p, ctx.seed, ctx.scratch / "sample.jsonl")
    graded = draw_and_grade(ctx, model.path, rows, draw, config)
    digest = path_digest(model.path)
    kept, funnel = curate([_candidate(one, digest) for one in graded], config)
    if not kept:
        worst = max(funnel["filters"], key=lambda step: step["dropped"])
        raise StageError(f"none of {len(graded)} completions is left; most fell to {worst['name']!r}")
    write_rows(ctx.out, kept)
    (ctx.out / "funnel.json").write_text(json.dumps(funnel, indent=1))
    ctx.summary(drawn=len(graded), kept=len(kept), problems=len(rows), problems_kept=funnel["problems_kept"])
    return Samples(ctx.out)


def _candidate(one: Graded, digest: str) -> dict[str, Any]:
    """A Samples row with what a reader needs to trust it: verdict, reward and the digest of the model that wrote it."""
    told = {name: one.row.get(name) for name in ("id", "prompt", "family", "kind", "system")}
    made = {"completion": one.completion, "finish": one.finish, "n_tokens": one.n_tokens}
    return {**told, **made, "source": "sample", "correct": one.correct, "reward": one.reward, "model": digest}
