"""Texts that are held instead of learnt: towards the whole next-token distribution that the model had for them before.

Distillation from the model itself (Learning without Forgetting, arXiv 1606.09282, on texts that it drew itself). The
tokens of such a text are a sample of that distribution, so learning them has the same expected gradient, and the noise
of sampling on top, which every update carries into weights that were to stay. Here the gradient is zero at the start,
not only its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from sft.data import IGNORE

HELD = "held"  # column of the dataset and key of a batch: (B,) bool


def marking(collate: Callable[[list[Any]], dict[str, Any]]) -> Callable[[list[Mapping[str, Any]]], dict[str, Any]]:
    """A collator that hands on which rows of a batch are held; TRL's own drops the columns that it does not know."""

    def collated(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**collate(list(rows)), HELD: torch.tensor([bool(row[HELD]) for row in rows])}

    return collated


def held_divergence(model: Any, before: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Sum of KL(before || model) in nats over all places with a label, and how many those are.

    batch: input_ids, attention_mask and labels, (B, T) each. The gradient goes into `model` alone.
    """
    keep = batch["labels"][:, 1:] != IGNORE
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wanted = log_softmax(before(**inputs, use_cache=False).logits[:, :-1][keep].float(), -1)
    found = log_softmax(model(**inputs, use_cache=False).logits[:, :-1][keep].float(), -1)
    return kl_div(found, wanted, log_target=True, reduction="sum"), int(keep.sum())
