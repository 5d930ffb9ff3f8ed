"""The `report` stage: the run so far as one page, or the scores alone where there is no run around them."""

from __future__ import annotations

from pydantic import Field

from pipelines.artifacts import Report, Scores
from pipelines.context import Context
from pipelines.stage import StageConfig, stage


class ReportConfig(StageConfig):
    title: str | None = Field(None, description="heading of the page; the run's name where it is not given")


@stage(version=1, summary="one self-contained page: scores, curves, answers of each stage")
def report(ctx: Context, config: ReportConfig, *, scores: Scores) -> Report:
    from pipelines.report import render_stage

    path = render_stage(scores.path, ctx.run, ctx.out / "report.html", ctx.say, config.title)
    ctx.summary(bytes=path.stat().st_size)
    return Report(ctx.out)
