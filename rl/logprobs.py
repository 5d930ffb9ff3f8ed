"""Log-probabilities of completions without paying for padding: rows are packed to the left, sorted by length and run
a token budget at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from trl.trainer import utils as trl_utils

if TYPE_CHECKING:
    from models.replay import RouterReplay

# Vocabulary entries in one tile of logits on a CPU. TRL's 32,768 suit its GPU kernel; its CPU path makes several copies
# of a tile. At 1,016 tokens x 150,000 entries, forward and backward, TRL's width took 1,217 MiB, this one 186 MiB.
CPU_TILE = 2048


def completion_logprobs(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    keep: int,
    *,
    batch_tokens: int,
    entropy: bool = False,
    aux_loss: bool = False,
    replay: RouterReplay | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(log-probs, entropies, auxiliary loss) of the last `keep` tokens of each row, with gradient where enabled.

    Args:
        model: a causal model with TRL's fused head (`add_fused_lm_head`), which never holds the whole logits tensor.
        input_ids, attention_mask: (B, P + C), prompts padded on the left, completions on the right; a row whose
            completion is masked (all zeros) is not run and gets zeros.
        batch_tokens: tokens per forward pass, padding included; a longer row goes alone.
        replay: records or replays the routes of (B, P + C) tokens.

    Returns:
        two (B, C) tensors, C = `keep`, zero where masked, and the token-weighted mean of the router loss.
    """
    lengths = attention_mask.sum(dim=1)
    prompt_lengths = attention_mask[:, :-keep].sum(dim=1)
    starts = attention_mask.argmax(dim=1)
    order = torch.argsort(lengths, descending=True, stable=True)
    wanted = order[attention_mask[order, -keep:].any(dim=1)]
    order = wanted if len(wanted) else order[-1:]  # something must run: a loss without a graph has no backward
    logps, entropies, losses = [], [], []
    for rows in _budget(order, lengths[order].tolist(), batch_tokens):
        width = max(int(lengths[rows[0]]), 2)
        columns = torch.arange(width, device=input_ids.device)
        mask = columns < lengths[rows, None]
        places = (starts[rows, None] + columns).clamp(max=input_ids.size(1) - 1)
        ids = input_ids[rows].gather(1, places)
        labels = ids.masked_fill(~mask | (columns < prompt_lengths[rows, None]), -100)
        extra = {"output_router_logits": True} if aux_loss else {}
        with _tiles(ids.device), replay.chunk(rows, places, mask) if replay else nullcontext():
            out = model(input_ids=ids, attention_mask=mask.long(), labels=labels, fused_lm_head=True, **extra)
        # Log-prob j of a row belongs to its token j + 1, so completion token c stands at prompt length + c - 1.
        where = prompt_lengths[rows, None] - 1 + torch.arange(keep, device=ids.device)
        inside = where < lengths[rows, None] - 1
        where = where.clamp(min=0, max=width - 2)
        logps.append(out.log_probs.gather(1, where) * inside)
        entropies.append(out.entropy.gather(1, where) * inside if entropy else None)
        losses.append(out.aux_loss * mask.sum() if aux_loss else None)
    empty = torch.zeros(len(input_ids), keep, device=input_ids.device)
    return (
        empty.index_copy(0, order, torch.cat(logps).to(empty)),
        empty.index_copy(0, order, torch.cat(entropies).to(empty)) if entropy else None,
        torch.stack(losses).sum() / lengths[order].sum() if aux_loss else None,
    )


def _budget(order: Tensor, lengths: list[int], batch_tokens: int) -> list[Tensor]:
    """Cut row indices, longest first, so that rows x longest row stays within the budget (at least one row each)."""
    parts, first = [], 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or (i - first + 1) * max(lengths[first], 1) > batch_tokens:
            parts.append(order[first:i])
            first = i
    return parts


@contextmanager
def _tiles(device: torch.device) -> Iterator[None]:
    """TRL offers no setting for the tile's width: it reads a module's constant when the forward pass begins."""
    wide = trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
    trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_TILE if device.type == "cpu" else wide
    try:
        yield
    finally:
        trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = wide
