"""`grpo`: reinforcement learning with verifiable rewards: R1-Zero's and R1's reasoning stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from pipelines.artifacts import Model, Problems, read_rows
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage
from rl.config import GrpoSettings

DAPO_OVERLONG = 4096 / 20480  # the slope's share of the longest completion (arXiv 2503.14476)
OVERLONG_WEIGHT = 0.5  # DAPO's verdict spans 2, from -1 to 1, and ours 1: the penalty keeps its proportion to it


class GrpoConfig(GrpoSettings, StageConfig):
    """Group-relative policy optimisation on vLLM rollouts, guarded by the canary after every weight sync."""

    rewards: dict[str, Any] = Field(
        {"math": 1.0, "code": 1.0, "format": 0.1}, description="rewards and their weights or settings (R1: format 1.0)"
    )
    overlong: float | None = Field(
        None, gt=0, le=1, description="soft overlong penalty on the last share of max_tokens (DAPO: 0.2); empty = none"
    )

    @model_validator(mode="before")
    @classmethod
    def _overlong(cls, given: Any) -> Any:
        dapo = isinstance(given, dict) and given.get("algorithm") == "dapo"
        return {"overlong": DAPO_OVERLONG, **given} if dapo else given

    def all_rewards(self) -> dict[str, Any]:
        """`rewards`, with the overlong penalty as a `length` reward unless there is one already."""
        if self.overlong is None or "length" in self.rewards:
            return self.rewards
        slope = max(1, round(self.overlong * self.max_tokens))
        penalty = {"weight": OVERLONG_WEIGHT, "max_tokens": self.max_tokens, "slope_tokens": slope}
        return {**self.rewards, "length": penalty}


def _check(config: GrpoConfig) -> Iterable[str]:
    from rollout.factory import resolve_kind

    try:
        resolve_kind(config.engine)
    except ValueError as error:
        yield str(error)


@stage(version=2, summary="reinforcement learning (GRPO) against rewards, rollouts on vLLM", check=_check)
def grpo(
    ctx: Context, config: GrpoConfig, *, model: Model, problems: list[Problems], dev: list[Problems] | None = None
) -> Model:
    from rollout.process import set_vllm_environment

    set_vllm_environment()  # before TRL, which imports vLLM and lets it talk

    from models.lora import LoraError
    from models.router import RouterError
    from rewards.scorer import ErrorBudgetExceeded, Scorer
    from rl.config import GrpoError
    from rl.grpo import train_grpo
    from rollout.canary import CanaryFailure
    from rollout.server import EngineFailure

    rows = [row for part in problems for row in read_rows(part)]
    plugins, kept = list(ctx.rewards.values()), ctx.scratch / "rewards"
    with Scorer(config.all_rewards(), plugins, quarantine=ctx.out / "quarantine.jsonl", scratch=kept) as scorer:
        try:
            numbers = train_grpo(
                model.path,
                rows,
                config,
                scorer,
                ctx.out / "model",
                seed=ctx.seed,
                log=ctx.log,
                progress=ctx.progress,
                scratch=ctx.scratch,
                resumed=ctx.resumed,
                dev=[row for part in dev or () for row in read_rows(part)],
                say=ctx.say,
            )
        except (CanaryFailure, EngineFailure, ErrorBudgetExceeded, GrpoError, LoraError, RouterError) as error:
            raise StageError(str(error)) from error
    ctx.summary(**numbers)
    return Model(ctx.out / "model")
