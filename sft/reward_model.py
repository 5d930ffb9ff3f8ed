"""Reward models with TRL's `RewardTrainer`: a scalar head that learns which of two completions is better
(Bradley-Terry, R1's helpful model) or whether one is good (binary cross-entropy, R1's safety model)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import RewardConfig, RewardTrainer

from models.chat import Judges, asked
from models.checkpoint import WholeCheckpoints, last_checkpoint, load_tokenizer, quiet, save_model, step_of
from models.router import RouterPolicy
from models.router_callback import RouterCallback
from models.scalar import add_scalar_head, load_scalar_model, pad_apart
from rollout.reward_engine import model_scores
from rollout.reward_info import RewardModelInfo
from sft.arguments import trainer_arguments
from sft.data import RandomBatches
from sft.progress import Bar, Log
from sft.reward_config import RewardModelSettings
from sft.reward_data import Judged, Kind, PreferenceError, encode, kind_of, split
from sft.reward_metrics import label_numbers, pair_numbers
from sft.train import Reporter

SCORED_TRAINING_ROWS = 256  # where nothing is held out: the lowest score must come from somewhere


class PairTrainer(WholeCheckpoints, RewardTrainer):
    """`RewardTrainer` that resumes a Mixture-of-Experts whole and draws random batches, each sorted by length."""

    load_whole = staticmethod(load_scalar_model)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = json.loads((Path(resume_from_checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
        counts = [line["num_tokens"] for line in state["log_history"] if "num_tokens" in line]
        self._total_train_tokens = int(counts[-1]) if counts else 0  # TRL would count from 0 again

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        columns = [rows[name] for name in rows.column_names if name.endswith("_ids")]
        lengths = [max(map(len, row)) for row in zip(*columns, strict=True)]
        return RandomBatches(
            lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps, self.args.seed
        )


class LabelTrainer(PairTrainer):
    """Binary cross-entropy of sigmoid(score) with a label from 0 (bad) to 1 (good), one completion a row."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["text_ids", "label"]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs, use_cache=False)
        scores = outputs.logits.squeeze(-1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores.float(), labels)
        good = labels >= 0.5
        self._total_train_tokens += int(inputs["attention_mask"].sum())
        metrics = self._metrics["train"]
        metrics["num_tokens"] = [self._total_train_tokens]
        metrics["mean_reward"].append(scores.mean().item())
        metrics["accuracy"].append(((scores > 0) == good).float().mean().item())
        return (loss, outputs) if return_outputs else loss


def collate_labels(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask (B, T), padded on the right, and labels (B,)."""
    longest = max(len(row["text_ids"]) for row in rows)
    gaps = [longest - len(row["text_ids"]) for row in rows]
    return {
        "input_ids": torch.tensor([row["text_ids"] + [pad_id] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "labels": torch.tensor([float(row["label"]) for row in rows]),
    }


def train_reward_model(
    model_path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: RewardModelSettings,
    out_dir: str | Path,
    *,
    dev: Sequence[Mapping[str, Any]] = (),
    seed: int,
    log: Log,
    progress: Callable[[str, int | None], Bar],
    scratch: str | Path,
    resumed: Callable[[int], list[dict[str, Any]]] = lambda step: [],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train a reward model from the model of `model_path` on preference rows and save it to `out_dir`.

    `rows`: {prompt, system, chosen, rejected} or {prompt, system, completion, label}, of one kind. `dev`: rows of the
    same kind for the held-out numbers; without them `config.holdout` of the prompts is kept out. Checkpoints go to
    `scratch`, as in `sft.train.train_sft`, and a resumed call ends with the same weights and numbers.

    Returns kind, judges, rows, nothing_to_judge, too_long, steps, loss (last logged), seconds and, with rows held out,
    `held_out` (see `sft.reward_metrics`). PreferenceError, ScalarModelError or RouterError, one line each, where data
    or model do not fit.
    """
    start, began = last_checkpoint(scratch, say), time.monotonic()
    kind = kind_of(rows)
    if dev and kind_of(dev, "dev") != kind:
        raise PreferenceError(f"dev: {kind_of(dev, 'dev')} cannot tell how good a reward model on {kind} is")
    judges: Judges = ("answer" if kind == "pairs" else "whole") if config.judges == "auto" else config.judges
    tokenizer = pad_apart(load_tokenizer(model_path))
    model = add_scalar_head(model_path, seed=seed)
    data, unseen = _encode_all(tokenizer, model, rows, dev, kind, judges, config)
    router = RouterCallback(RouterPolicy(freeze_weights=config.freeze_router), model)
    reporter = Reporter(log, progress, "reward model")
    trainer = build_trainer(model, tokenizer, data, config, scratch, seed, [router, reporter])
    if start is not None:
        reporter.lines = resumed(step_of(start))
    with quiet():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    save_model(model, tokenizer, out_dir, dtype=config.save_dtype)
    judged = unseen if unseen.rows else _first(data, SCORED_TRAINING_ROWS)
    numbers = held_out_numbers(judged, model_scores(model, judged.input_ids, tokenizer.pad_token_id))
    held_out, lowest = (numbers if unseen.rows else None), numbers["score_lowest"]
    RewardModelInfo(kind, judges, config.template, config.max_length, lowest, held_out).write(out_dir)
    return {
        "kind": kind,
        "judges": judges,
        "rows": data.rows,
        "nothing_to_judge": data.nothing_to_judge + unseen.nothing_to_judge,
        "too_long": data.too_long + unseen.too_long,
        "steps": trainer.state.global_step,
        **{key: line[key] for line in reporter.lines[-1:] for key in ("loss",)},
        **({"held_out": held_out} if held_out else {}),
        "seconds": round(time.monotonic() - began, 1),
    }


def _encode_all(
    tokenizer: Any,
    model: Any,
    rows: Sequence[Mapping[str, Any]],
    dev: Sequence[Mapping[str, Any]],
    kind: Kind,
    judges: Judges,
    config: RewardModelSettings,
) -> tuple[Judged, Judged]:
    """(training texts, held-out texts); PreferenceError where there is nothing to train on."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", config.max_length)
    limit = min(config.max_length, context)
    kept, held = (rows, dev) if dev else split(rows, config.holdout)
    trained = {asked(row) for row in kept}
    if both := [row for row in held if asked(row) in trained]:
        raise PreferenceError(
            f"reward-model: {len(both)} of {len(held)} rows of `dev` ask what is trained on, for example "
            f"{asked(both[0])[:80]!r}: their accuracy would say nothing; give rows on other prompts"
        )
    data = encode(tokenizer, kept, kind, judges=judges, template=config.template, max_length=limit)
    unseen = encode(tokenizer, held, kind, judges=judges, template=config.template, max_length=context)
    if not data.rows:
        raise PreferenceError(
            f"reward-model: none of {len(kept)} {kind} can be trained on: {data.nothing_to_judge} have nothing to judge"
            f" (judges: {judges}), {data.too_long} are longer than {limit} tokens"
        )
    return data, unseen


def held_out_numbers(judged: Judged, scores: Sequence[float]) -> dict[str, Any]:
    """The numbers of `sft.reward_metrics` that belong to the kind of the data."""
    if judged.kind == "pairs":
        return pair_numbers(scores, judged.lengths)
    return label_numbers(scores, judged.labels, judged.lengths)


def _first(data: Judged, rows: int) -> Judged:
    texts = rows * (2 if data.kind == "pairs" else 1)
    return Judged(data.kind, data.input_ids[:texts], data.lengths[:texts], data.labels[:rows])


def build_trainer(
    model: Any,
    tokenizer: Any,
    data: Judged,
    config: RewardModelSettings,
    scratch: str | Path,
    seed: int,
    callbacks: list[TrainerCallback],
) -> PairTrainer:
    """The trainer over ready token rows: TRL neither renders nor filters anything."""
    args = RewardConfig(**trainer_arguments(config, scratch, seed), max_length=None)
    if data.kind == "pairs":
        kind: type[PairTrainer] = PairTrainer
        columns = {"chosen_ids": data.input_ids[::2], "rejected_ids": data.input_ids[1::2]}
        extra = {}
    else:
        kind, columns = LabelTrainer, {"text_ids": data.input_ids, "label": data.labels}
        extra = {"data_collator": lambda rows: collate_labels(rows, tokenizer.pad_token_id)}
    rows = Dataset.from_dict(columns)
    trainer = kind(model=model, args=args, train_dataset=rows, processing_class=tokenizer, callbacks=callbacks, **extra)
    trainer.remove_callback(PrinterCallback)
    return trainer
