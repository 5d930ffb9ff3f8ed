"""`eval`: the same problems, sampled k times by each model, graded as in training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipelines.artifacts import Model, Problems, RewardModel, Scores, read_rows, write_rows
from pipelines.context import Context
from pipelines.drawing import Draw, DrawSettings, Graded, check_engine, draw_and_grade
from pipelines.evaluation import Judged, evaluate
from pipelines.stage import StageConfig, stage


class EvalConfig(DrawSettings, StageConfig):
    """R1's protocol (arXiv 2501.12948v2, D.1): temperature 0.6, top-p 0.95, pass@1 = mean of k samples."""

    k: int = Field(8, ge=1, description="samples per problem (R1: 64 for AIME, 16 for MATH, 8 for LiveCodeBench)")
    temperature: float = Field(0.6, ge=0, description="sampling temperature; 0 = greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="nucleus sampling")
    limit: int = Field(0, ge=0, description="use the first N problems only; 0 = all")


def _check(config: EvalConfig) -> Iterable[str]:
    return check_engine(config)


@stage(version=3, summary="score models on problems: pass@1, pass@k, cons@k with intervals", check=_check)
def eval(
    ctx: Context,
    config: EvalConfig,
    *,
    models: dict[str, Model],
    problems: Problems,
    helpful: RewardModel | None = None,
    safety: RewardModel | None = None,
) -> Scores:
    rows = read_rows(problems)[: config.limit or None]
    scores: dict[str, Any] = {}
    samples: list[dict[str, Any]] = []
    draw = Draw(config.k, config.temperature, config.top_p, ctx.seed)
    for name, model in models.items():
        judges = {"helpful": helpful, "safety": safety}
        graded = draw_and_grade(ctx, model.path, rows, draw, ctx.scratch / f"{name}.jsonl", config, judges)
        scores[name] = evaluate([_judged(one) for one in graded])
        samples += [_row(name, one) for one in graded]
        ctx.summary(**{name: scores[name]["pass@1"]})
    names = ("k", "temperature", "top_p", "max_tokens", "limit", "template", "engine", "rewards", "correct")
    protocol = {name: getattr(config, name) for name in names}
    (ctx.out / "scores.json").write_text(json.dumps({"models": scores, "protocol": protocol}, indent=1))
    write_rows(ctx.out / "samples.parquet", samples)
    return Scores(ctx.out)


def _judged(one: Graded) -> Judged:
    from rewards.math.extract import extract
    from rewards.math.normal import normal

    votes = one.row.get("answer") is not None and not one.row.get("tests")
    answer = extract(one.completion) if votes else None
    return Judged(
        id=str(one.row["id"]),
        family=str(one.row.get("family") or "all"),
        correct=one.correct,
        n_tokens=one.n_tokens,
        finished=one.finish == "stop",
        vote=None if answer is None else normal(answer),
        votes=votes,
    )


def _row(model: str, one: Graded) -> dict[str, Any]:
    told = {name: one.row.get(name) for name in ("id", "prompt", "family", "answer")}
    made = {"completion": one.completion, "n_tokens": one.n_tokens, "finish": one.finish}
    return {
        "model": model,
        **told,
        **made,
        "correct": one.correct,
        "reward": one.reward,
        "rewards": dict(one.parts) or None,
    }
