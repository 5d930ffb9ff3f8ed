"""`reward-model`: a model that says how good a completion is: R1's helpful (pairs) and safety (labels) models."""

from __future__ import annotations

from pipelines.artifacts import Model, Preferences, RewardModel, read_rows
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage
from sft.reward_config import RewardModelSettings


class RewardModelConfig(RewardModelSettings, StageConfig):
    """A scalar head on a model of ours, trained on pairs (Bradley-Terry) or on labels (cross-entropy)."""


@stage(version=2, summary="train a reward model on pairs or labelled completions")
def reward_model(
    ctx: Context,
    config: RewardModelConfig,
    *,
    model: Model,
    preferences: list[Preferences],
    dev: Preferences | None = None,
) -> RewardModel:
    from models.chat import ChatError
    from models.finite import DivergenceError
    from models.router import RouterError
    from models.scalar import ScalarModelError
    from sft.reward_data import PreferenceError
    from sft.reward_model import train_reward_model

    try:
        numbers = train_reward_model(
            model.path,
            [row for part in preferences for row in read_rows(part)],
            config,
            ctx.out / "model",
            dev=read_rows(dev) if dev is not None else (),
            seed=ctx.seed,
            log=ctx.log,
            progress=ctx.progress,
            scratch=ctx.scratch,
            resumed=ctx.resumed,
            say=ctx.say,
        )
    except (ChatError, DivergenceError, PreferenceError, RouterError, ScalarModelError) as error:
        raise StageError(str(error)) from error
    held_out = numbers.pop("held_out", {})
    ctx.summary(**numbers, **{f"held_out/{name}": value for name, value in held_out.items()})
    return RewardModel(ctx.out / "model")
