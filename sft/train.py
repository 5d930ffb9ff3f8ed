"""Supervised fine-tuning on chat samples with TRL's `SFTTrainer`: the loss sees completions only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from models.checkpoint import (
    WholeCheckpoints,
    last_checkpoint,
    load_model,
    load_tokenizer,
    quiet,
    save_model,
    step_of,
)
from models.lora import add_adapter
from models.router_callback import RouterCallback
from sft.arguments import trainer_arguments
from sft.config import SftSettings
from sft.data import Encoded, RandomBatches, SampleError, encode
from sft.progress import Bar, Log
from sft.rehearsal import HELD, held_divergence, marking


class Trainer(WholeCheckpoints, SFTTrainer):
    """`SFTTrainer` that resumes a Mixture-of-Experts whole and draws random batches, each sorted by length."""

    before: Any = None  # the model that training began with, where texts are held to it
    weight = 1.0  # what a held token counts beside a learnt one

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        held = inputs.pop(HELD, None)
        if self.before is None or held is None or not held.any():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        assert num_items_in_batch is not None and not return_outputs
        total, n = held_divergence(model, self.before, {name: rows[held] for name, rows in inputs.items()})
        self._metrics["train"]["rehearsal"].append(total.item() / max(n, 1))
        loss = self.weight * total / num_items_in_batch
        if held.all():
            return loss
        rest = {name: rows[~held] for name, rows in inputs.items()}
        return loss + super().compute_loss(model, rest, num_items_in_batch=num_items_in_batch)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = json.loads((Path(resume_from_checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
        counts = [line["num_tokens"] for line in state["log_history"] if "num_tokens" in line]
        self._total_train_tokens = int(counts[-1]) if counts else 0  # TRL would count from 0 again

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return RandomBatches(
            lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps, self.args.seed
        )


class Reporter(TrainerCallback):
    """Hands the trainer's numbers to the stage's log and progress bar."""

    def __init__(self, log: Log, progress: Callable[[str, int | None], Bar], title: str = "sft") -> None:
        self._log, self._progress, self._title = log, progress, title
        self.lines: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar = self._progress(self._title, state.max_steps)
        if state.global_step:
            self._bar.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        last = self.lines[-1] if self.lines else {}
        self._bar.advance(1, **{key: last[key] for key in ("loss", "router/max_vio") if key in last})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        names = {"learning_rate": "lr", "mean_token_accuracy": "accuracy"}
        line = {names.get(key, key): value for key, value in logs.items()}
        self.lines.append(line)
        self._log(state.global_step, **line)


def train_sft(
    model_path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: SftSettings,
    out_dir: str | Path,
    *,
    seed: int,
    log: Log,
    progress: Callable[[str, int | None], Bar],
    scratch: str | Path,
    resumed: Callable[[int], list[dict[str, Any]]] = lambda step: [],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the model of `model_path` on Samples rows and save it to `out_dir`.

    Checkpoints go to `scratch`; a call that finds one there goes on from it and ends with the same weights and numbers
    as an uninterrupted run: `resumed(step)` gives the lines logged up to then. `say` takes warnings. Returns steps,
    rows, too_long, tokens (completion tokens in one epoch), loss and accuracy (last logged), max_vio (of a MoE),
    seconds. SampleError, LoraError or RouterError, with one line, where data or settings do not fit the model;
    DivergenceError where training has spoilt it.
    """
    if config.rehearsal == "logits" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SampleError("sft: rehearsal: logits is for one process, not weighed over several: use rehearsal: tokens")
    start, began = last_checkpoint(scratch, say), time.monotonic()
    tokenizer = load_tokenizer(model_path)
    model = load_model(model_path)
    if config.lora_rank:
        add_adapter(model, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets, seed=seed)
    limit = min(
        config.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", config.max_length)
    )
    data = encode(tokenizer, rows, max_length=limit, template=config.template)
    router = RouterCallback(config.policy, model)
    reporter = Reporter(log, progress)
    holds = config.rehearsal == "logits" and any(data.raw)
    before = load_model(model_path).requires_grad_(False).eval() if holds else None
    trainer = build_trainer(model, tokenizer, data, config, scratch, seed, limit, [router, reporter], before)
    if start is not None:
        reporter.lines = resumed(step_of(start))
    with quiet():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    save_model(model, tokenizer, out_dir, dtype=config.save_dtype)
    last = reporter.lines[-1] if reporter.lines else {}
    return {
        "steps": trainer.state.global_step,
        "rows": len(data.input_ids),
        "too_long": data.too_long,
        "tokens": data.n_completion_tokens,
        **{key: last[key] for key in ("loss", "accuracy") if key in last},
        **({"max_vio": last["router/max_vio"]} if "router/max_vio" in last else {}),
        "seconds": round(time.monotonic() - began, 1),
    }


def build_trainer(
    model: Any,
    tokenizer: Any,
    data: Encoded,
    config: SftSettings,
    scratch: str | Path,
    seed: int,
    max_length: int,
    callbacks: list[TrainerCallback],
    before: Any = None,
) -> Trainer:
    """The trainer over ready token rows: TRL neither renders nor masks anything. `before`: the model that raw texts are
    held to, where they are not learnt like all else."""
    packing = config.packing == "bfd"
    args = SFTConfig(
        **trainer_arguments(config, scratch, seed),
        adam_beta2=config.beta2,
        router_aux_loss_coef=config.policy.aux_coef,
        packing=packing,
        max_length=max_length,
        dataset_kwargs=None if packing else {"skip_prepare_dataset": True},
        remove_unused_columns=before is None,
    )
    columns = {"input_ids": data.input_ids, "labels": data.labels}
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict(columns if before is None else {**columns, HELD: data.raw}),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    if before is not None:
        trainer.before, trainer.weight = before, config.rehearsal_weight
        trainer.data_collator = marking(trainer.data_collator)
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer
