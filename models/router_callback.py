"""The router policy as a `transformers` trainer callback: pre-training, SFT and RL all use this one."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.router import RouterPolicy, RouterWatch


class RouterCallback(TrainerCallback):
    """Runs a `RouterPolicy` in a `Trainer`: bias updates after each optimizer step, load numbers in the logs.

    Logs the mean over the optimizer steps since the last log (keys of `RouterWatch.step`) and `load/<layer>`, the list
    of each expert's share in the last step. Put it before the callback that writes the logs down. `aux` needs the
    trainer to add the loss: give TRL's config `router_aux_loss_coef=policy.aux_coef`, for the other policies too (left
    out, TRL turns the loss on).
    """

    def __init__(self, policy: RouterPolicy, model: Any) -> None:
        self.watch = RouterWatch(model, policy)
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
        for layer, shares in self.watch.loads().items():
            logs[f"load/{layer}"] = [round(share, 4) for share in shares]
        self._sums, self._steps = {}, 0

    def numbers(self) -> dict[str, float]:
        """Mean load numbers of the optimizer steps since the last log."""
        return {key: value / max(self._steps, 1) for key, value in self._sums.items()}

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.watch.close()
