"""`sample`: rejection sampling: draw many completions per problem, keep the correct and readable ones."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.artifacts import Model, Problems, RewardModel, Samples, read_rows
from pipelines.context import Context
from pipelines.drawing import check_engine
from pipelines.harvest import HarvestSettings, Manner, harvest, summarise
from pipelines.stage import StageConfig, stage


class SampleConfig(HarvestSettings, StageConfig):
    """Rejection sampling. R1 does not publish its samples per prompt; temperature 1.0 is that of its cold start."""


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
    manner = Manner("sample", judges={"helpful": helpful, "safety": safety})
    made = harvest(ctx, config, model.path, read_rows(problems), config.screen(against), manner)
    made.write(ctx.out)
    summarise(ctx, made.funnel, made.contaminated)
    return Samples(ctx.out)
