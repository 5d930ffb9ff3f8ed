"""Reading plain text: next-token training of a base model on HF `Trainer`.

A document is (statement, what follows). The statement of a generated problem is random digits: nothing in it can be
predicted, so only what follows is in the loss. Counting the statement too was tried first and learnt slower.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

POOL = 4096  # documents sorted by length together: batches with little padding, yet random in content
LOG_EVERY = 20  # steps


class PretrainSettings(BaseModel):
    """Defaults are DeepSeek-V3's where it published them (arXiv 2412.19437, 4.2): AdamW 0.9/0.95, weight decay 0.1,
    gradient clip 1.0; the learning rate rises linearly, then falls along a cosine to one tenth of its peak."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    steps: int = Field(2000, ge=1, description="optimizer steps")
    batch_tokens: int = Field(512, ge=64, description="tokens of one batch of like lengths, padding included")
    accumulate: int = Field(4, ge=1, description="batches per optimizer step: one step sees several lengths and kinds")
    lr: float = Field(2e-3, gt=0, description="peak learning rate; 1e-3 to 3e-3 suits a few million parameters")
    warmup_steps: int = Field(200, ge=0, description="steps in which the learning rate rises from 0")
    router: str = Field("bias_update(0.001)", description="router policy; V3 pre-trained with bias_update(0.001)")
    save_every: int = Field(
        500, ge=1, description=f"steps between checkpoints for resuming, rounded up to a multiple of {LOG_EVERY}"
    )
    keep: int = Field(2, ge=1, description="checkpoints kept while it runs: the last one and those to fall back on")


def batches(
    documents: Iterable[tuple[list[int], int]], batch_tokens: int, pad_id: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Right-padded batches of documents (ids, length of the part without loss): at most `batch_tokens` tokens with
    padding, at least one row.

    Each document is a row of its own and starts at position 0, as a chat does: at equal tokens short rows taught a
    tiny model facts several times faster than packed ones.
    """
    import torch

    rng = random.Random(seed)
    stream = iter(documents)
    while pool := sorted(itertools.islice(stream, POOL), key=lambda document: len(document[0])):
        cut: list[list[tuple[list[int], int]]] = [[]]
        for document in pool:  # ascending: the newest row is the longest
            if cut[-1] and len(document[0]) * (len(cut[-1]) + 1) > batch_tokens:
                cut.append([])
            cut[-1].append(document)
        rng.shuffle(cut)
        for rows in cut:
            longest = len(rows[-1][0])
            ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row, _ in rows])
            place = torch.arange(longest)
            mask = place < torch.tensor([[len(row)] for row, _ in rows])
            learnt = mask & (place >= torch.tensor([[start] for _, start in rows]))
            yield {"input_ids": ids, "attention_mask": mask.long(), "labels": ids.masked_fill(~learnt, -100)}


def _arguments(settings: PretrainSettings, scratch: Path, seed: int) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=settings.steps,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.lr,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=settings.warmup_steps,
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        save_steps=-(-settings.save_every // LOG_EVERY) * LOG_EVERY,  # the sums behind the next line are not saved
        save_total_limit=settings.keep,
        logging_steps=LOG_EVERY,
        seed=seed,
        report_to=[],
        disable_tqdm=True,
        accelerator_config={"dispatch_batches": False},
    )


def pretrain(
    model: Any,
    tokenizer: Any,
    documents: Callable[[], Iterable[tuple[str, str]]],
    settings: PretrainSettings,
    *,
    seed: int,
    scratch: Path,
    callbacks: list[Any],
    resumed: Callable[[int], Any] = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> float:
    """Train `model` in place on `documents()` (an endless, repeatable stream); returns the mean loss of the last 100
    steps (nats per token). A checkpoint found in `scratch` is continued, with the same result as without the break."""
    from torch.utils.data import DataLoader, IterableDataset
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    from models.checkpoint import WholeCheckpoints, last_checkpoint, quiet, step_of

    def encode(statement: str, rest: str) -> tuple[list[int], int]:
        head = [tokenizer.bos_token_id, *tokenizer.encode(statement, add_special_tokens=False)]
        return [*head, *tokenizer.encode(rest, add_special_tokens=False), tokenizer.eos_token_id], len(head)

    class Stream(IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[dict[str, Any]]:
            ids = (encode(statement, rest) for statement, rest in documents())
            return batches(ids, settings.batch_tokens, tokenizer.pad_token_id, seed)

    class BatchTrainer(WholeCheckpoints, Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> DataLoader:
            return DataLoader(Stream(), batch_size=None)

    model.config.use_cache = False
    trainer = BatchTrainer(
        model=model, args=_arguments(settings, scratch, seed), train_dataset=Stream(), callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    start = last_checkpoint(scratch, say)
    if start is not None:
        resumed(step_of(start))
    with quiet():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    model.config.use_cache = True
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-5:]
    return sum(losses) / len(losses)
