"""`grpo`: reinforcement learning with verifiable rewards: R1-Zero's and R1's reasoning stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from pipelines.artifacts import Model, Problems, RewardModel, read_rows
from pipelines.context import Context
from pipelines.grading import make_scorer, quarantine_of
from pipelines.stage import StageConfig, StageError, stage
from rl.config import GrpoSettings
from rollout.types import Scorer

DAPO_OVERLONG = 4096 / 20480  # the slope's share of the longest completion (arXiv 2503.14476)
Row = Mapping[str, Any]
OVERLONG_WEIGHT = 0.5  # DAPO's verdict spans 2, from -1 to 1, and ours 1: the penalty keeps its proportion to it


class GrpoConfig(GrpoSettings, StageConfig):
    """Group-relative policy optimisation on vLLM rollouts, guarded by the canary after every weight sync."""

    added = ("sleep",)

    rewards: dict[str, Any] = Field(
        {"math": 1.0, "code": 1.0, "format": 0.1}, description="rewards and their weights or settings (R1: format 1.0)"
    )
    watch: dict[str, Any] = Field(
        {}, description="rules that grade the `dev` problems and train nothing: watched against learned rewards"
    )
    overlong: float | None = Field(
        None, gt=0, le=1, description="soft overlong penalty on the last share of max_tokens (DAPO: 0.2); empty = none"
    )

    @model_validator(mode="before")
    @classmethod
    def _overlong(cls, given: Any) -> Any:
        dapo = isinstance(given, dict) and given.get("algorithm") == "dapo"
        return {"overlong": DAPO_OVERLONG, **given} if dapo else given

    @model_validator(mode="after")
    def _watches(self) -> Self:
        if self.watch and not self.eval_every:
            raise ValueError("watch: grades the answers to held-out problems: set eval_every, and `dev` as an input")
        if both := sorted(set(self.watch) & set(self.rewards)):
            raise ValueError(f"watch: {both[0]} is trained on as well, so it is no check: take it out of one of them")
        if guesses := sorted(set(self.watch) & set(self.learned)):
            raise ValueError(f"watch: {guesses[0]} is a learned reward and can be hacked itself: name rules here")
        if self.eval_every and (self.watch or self.on_alarm == "stop") and not self._can_part():
            raise ValueError(
                f"watch: no learned reward ({', '.join(self.learned)}) among the rewards has a mean that can rise, so "
                "nothing would be watched: name yours in `learned` (a judge in mode pair gives each group 0.5)"
            )
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name, told in (("correct", self.correct), ("learned", self.learned)):
            # The defaults name what may be there. (Not `model_fields_set`: a manifest's config has all of them set.)
            given = told != type(self).model_fields[name].default
            if given and (unknown := sorted(set(told) - set(self.rewards))):
                raise ValueError(f"{name}: {unknown[0]} is not among the rewards ({', '.join(self.rewards)})")
        return self

    def _can_part(self) -> bool:
        """Whether some learned reward can part from the rules: duels within a group always have the mean 0.5."""
        for name in set(self.learned) & set(self.rewards):
            settings = self.rewards[name]
            told = settings if isinstance(settings, dict) else {}
            if name != "judge" or told.get("mode") != "pair" or told.get("against", "group") != "group":
                return True
        return False

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


@stage(version=5, summary="reinforcement learning (GRPO) against rewards, rollouts on vLLM", check=_check)
def grpo(
    ctx: Context,
    config: GrpoConfig,
    *,
    model: Model,
    problems: list[Problems],
    dev: list[Problems] | None = None,
    helpful: RewardModel | None = None,
    safety: RewardModel | None = None,
) -> Model:
    from rollout.process import set_vllm_environment

    set_vllm_environment()  # before TRL, which imports vLLM and lets it talk

    rows = [row for part in problems for row in read_rows(part)]
    held_out = [row for part in dev or () for row in read_rows(part)]
    judges = {"helpful": helpful, "safety": safety}
    with (
        quarantine_of(ctx) as quarantine,
        make_scorer(ctx, config.all_rewards(), **judges, rows=rows + held_out, quarantine=quarantine) as scorer,
        _rules(ctx, config.watch, quarantine) if config.watch else nullcontext() as watch,
    ):
        ctx.summary(**_train(ctx, config, model, rows, held_out, scorer, watch))
    return Model(ctx.out / "model")


def _rules(ctx: Context, watch: dict[str, Any], quarantine: Path) -> Any:
    from rewards.scorer import Scorer as Rules

    return Rules(watch, list(ctx.rewards.values()), quarantine=quarantine, scratch=ctx.scratch / "rewards")


def _train(
    ctx: Context,
    config: GrpoConfig,
    model: Model,
    rows: Sequence[Row],
    dev: Sequence[Row],
    scorer: Scorer,
    watch: Scorer | None,
) -> dict[str, Any]:
    from models.chat import ChatError
    from models.finite import DivergenceError
    from models.lora import LoraError
    from models.router import RouterError
    from rewards.scorer import ErrorBudgetExceeded
    from rl.config import GrpoError
    from rl.grpo import train_grpo
    from rollout.canary import CanaryFailure
    from rollout.server import EngineFailure

    try:
        return train_grpo(
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
            dev=dev,
            watch=watch,
            say=ctx.say,
        )
    except (
        CanaryFailure, ChatError, DivergenceError, EngineFailure, ErrorBudgetExceeded, GrpoError, LoraError, RouterError
    ) as error:  # fmt: skip
        raise StageError(str(error)) from error
