"""The router policy as a `transformers` trainer callback: pre-training, SFT and RL all use this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.router import RouterPolicy, RouterWatch


class RouterCallback(TrainerCallback):
    """Runs a `RouterPolicy` in a `Trainer`: bias updates after each optimizer step, load numbers in the logs.

    Logs the mean over the optimizer steps since the last log (keys of `RouterWatch.step`). `on_load(step, loads)` gets
    each logged step's full table {layer: [share per expert]}. `aux` needs the trainer to add the loss: give TRL's
    config `router_aux_loss_coef=policy.aux_coef`, for the other policies too (TRL turns the loss on by default).
    """

    def __init__(
        self, policy: RouterPolicy, model: Any, *, on_load: Callable[[int, dict[int, list[float]]], None] | None = None
    ) -> None:
        self.watch = RouterWatch(model, policy)
        self._on_load = on_load
        self._sums: dict[str, float] = {}
        self._steps = 0

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for key, value in self.watch.step().items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._steps += 1

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or not self._steps:
            return
        logs.update(self.numbers())
        if self._on_load is not None:
            self._on_load(state.global_step, self.watch.loads())
        self._sums, self._steps = {}, 0

    def numbers(self) -> dict[str, float]:
        """Mean load numbers of the optimizer steps since the last log."""
        return {key: value / max(self._steps, 1) for key, value in self._sums.items()}

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.watch.close()
