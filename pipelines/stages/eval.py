"""`eval`: the same problems, sampled k times by each model, graded as in training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from models.chat import asked
from pipelines.artifacts import Model, Problems, RewardModel, Scores, read_rows, write_rows
from pipelines.context import Context
from pipelines.drawing import Draw, DrawSettings, Graded, check_engine, draw_and_grade
from pipelines.evaluation import Judged, evaluate, ungraded_line, wins
from pipelines.stage import StageConfig, StageError, stage

WIN = "win"


class Win(BaseModel):
    """A preference win rate: how often a model's sample has more of a reward than another's on the same problem."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    reward: str = Field(description="the reward that decides; one of `rewards` or `report`")
    against: str = Field(description="the model to beat, as named among `models`")


class EvalConfig(DrawSettings, StageConfig):
    """R1's protocol (arXiv 2501.12948v2, D.1): temperature 0.6, top-p 0.95, pass@1 = mean of k samples."""

    k: int = Field(8, ge=1, description="samples per problem (R1: 64 for AIME, 16 for MATH, 8 for LiveCodeBench)")
    temperature: float = Field(0.6, ge=0, description="sampling temperature; 0 = greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="nucleus sampling")
    limit: int = Field(0, ge=0, description="use the first N problems of each input only; 0 = all")
    report: tuple[str, ...] = Field(
        (), description="rewards that get a column of their own and decide nothing, such as format, language"
    )
    win: Win | None = Field(None, description="preference win rate: {reward: NAME, against: MODEL}; empty = none")

    def measuring(self) -> Self:
        """The same with the rewards of `report` among the rewards, at weight 0."""
        return self.model_copy(update={"rewards": {**dict.fromkeys(self.report, 0.0), **self.rewards}})


def _check(config: EvalConfig) -> Iterable[str]:
    yield from check_engine(config)
    if config.win and config.win.reward not in (*config.report, *config.rewards):
        yield f"win: {config.win.reward!r} is none of the rewards that are measured; add it to `report:`"


@stage(version=4, summary="score models on problems: pass@1, pass@k, cons@k with intervals", check=_check)
def eval(
    ctx: Context,
    config: EvalConfig,
    *,
    models: dict[str, Model],
    problems: list[Problems],
    helpful: RewardModel | None = None,
    safety: RewardModel | None = None,
) -> Scores:
    if config.win and config.win.against not in models:
        raise StageError(f"win: no model is named {config.win.against!r}; there are {', '.join(models)}")
    rows = [row for part in problems for row in read_rows(part)[: config.limit or None]]
    _check_ids(rows)
    judged: dict[str, list[Judged]] = {}
    samples: list[dict[str, Any]] = []
    draw = Draw(config.k, config.temperature, config.top_p, ctx.seed)
    judges = {"helpful": helpful, "safety": safety}
    for name, model in models.items():
        file = ctx.scratch / f"{name}.jsonl"
        graded = draw_and_grade(ctx, model.path, rows, draw, file, config.measuring(), judges)
        judged[name] = [_judged(one, config) for one in graded]
        samples += [_row(name, one, config.rewards) for one in graded]
    if line := ungraded_line(judged):
        ctx.say(line)
    scores = {name: evaluate(some) for name, some in _compared(judged, config.win).items()}
    ctx.summary(**{name: numbers["pass@1"] for name, numbers in scores.items()})
    names = ("k", "temperature", "top_p", "max_tokens", "limit", "template", "engine", "rewards", "correct", "report")
    protocol = {name: getattr(config, name) for name in names} | ({WIN: config.win.model_dump()} if config.win else {})
    (ctx.out / "scores.json").write_text(json.dumps({"models": scores, "protocol": protocol}, indent=1))
    write_rows(ctx.out / "samples.parquet", samples)
    return Scores(ctx.out)


def _check_ids(rows: Iterable[Mapping[str, Any]]) -> None:
    """One id is one problem here: two questions under one id would be counted as one."""
    questions: dict[str, str] = {}
    for row in rows:
        question = asked(row)
        if questions.setdefault(str(row["id"]), question) != question:
            raise StageError(
                f"problems: id {str(row['id'])!r} is two different problems: make ids unique, or score each set of "
                "problems in an `eval` stage of its own"
            )


def _judged(one: Graded, config: EvalConfig) -> Judged:
    from rewards.math.extract import extract
    from rewards.math.normal import normal

    votes = one.row.get("answer") is not None and not one.row.get("tests")
    answer = extract(one.completion) if votes else None
    measured = (*config.report, config.win.reward) if config.win else config.report
    return Judged(
        id=str(one.row["id"]),
        family=str(one.row.get("family") or "all"),
        correct=one.correct,
        n_tokens=one.n_tokens,
        finished=one.finish == "stop",
        vote=None if answer is None else normal(answer),
        votes=votes,
        open=one.row.get("answer") is None and not one.row.get("tests"),
        measures={name: one.parts[name] for name in measured if name in one.parts},
    )


def _compared(judged: Mapping[str, list[Judged]], win: Win | None) -> Mapping[str, list[Judged]]:
    """The samples of each model but the one to beat with their wins over it."""
    if win is None:
        return judged
    rest = {name: wins(some, judged[win.against], win.reward, WIN) for name, some in judged.items()}
    return rest | {win.against: judged[win.against]}


def _row(model: str, one: Graded, rewards: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: one.row.get(name) for name in ("id", "prompt", "family", "answer")}
    told |= {name: one.row[name] for name in ("system", "messages") if one.row.get(name)}
    made = {"completion": one.completion, "n_tokens": one.n_tokens, "finish": one.finish}
    return {
        "model": model,
        **told,
        **made,
        "correct": one.correct,
        "reward": one.reward if rewards.keys() & one.parts.keys() else None,
        "rewards": dict(one.parts) or None,
    }
