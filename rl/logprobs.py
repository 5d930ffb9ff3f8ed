"""Log-probabilities of completions without paying for padding, nor for one prompt as often as it has samples: rows are
packed to the left, sorted by length and run a token budget at a time, after the prompts that they share; equal rows are
one row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rl.packing import Rows, budget, first_of_each, tiles
from rl.shared_prompts import Prompts, find_prompts

if TYPE_CHECKING:
    from models.replay import RouterReplay


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
    share_prompts: bool = False,
    share_rows: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(log-probs, entropies, auxiliary loss) of the last `keep` tokens of each row, with gradient where enabled.

    Args:
        model: a causal model with TRL's fused head (`add_fused_lm_head`), which never holds the whole logits tensor.
        input_ids, attention_mask: (B, P + C), prompts padded on the left, completions on the right; a row whose
            completion is masked (all zeros) is not run and gets zeros.
        batch_tokens: tokens per forward pass, padding included; a longer row goes alone.
        replay: records or replays the routes of (B, P + C) tokens.
        share_prompts: run a prompt once for all of its rows (`rl.shared_prompts`); not with `replay` or `aux_loss`.
        share_rows: run a row once for all that are equal to it; their gradients add up. Not with those two either.

    Returns:
        two (B, C) tensors, C = `keep`, zero where masked, and the token-weighted mean of the router loss.
    """
    all_rows = Rows.of(input_ids, attention_mask, keep)
    order = torch.argsort(all_rows.lengths, descending=True, stable=True)
    wanted = order[attention_mask[order, -keep:].any(dim=1)]
    order = wanted if len(wanted) else order[-1:]  # something must run: a loss without a graph has no backward
    run_for = torch.arange(len(input_ids), device=input_ids.device)  # of each row, the one that is run
    if share_rows:
        first, owners = first_of_each(all_rows.shown(order))
        run_for[order] = order[first][owners]
        order = order[first]
    prompts = find_prompts(all_rows, order) if share_prompts else None
    whole = _whole(all_rows, order, batch_tokens)
    parts = whole if prompts is None else _after_prompts(model, all_rows, prompts, batch_tokens)
    logps, entropies, losses, done = [], [], [], []
    for rows, places, inputs, first in parts:
        ids, mask = inputs["input_ids"], inputs["attention_mask"][:, -places.size(1) :]
        extra = {"output_router_logits": True} if aux_loss else {}
        with tiles(ids.device), replay.chunk(rows, places, mask.bool()) if replay else nullcontext():
            out = model(**inputs, fused_lm_head=True, **extra)
        # Log-prob j of a part belongs to its token j + 1; `first` is the place of each row's first completion token.
        where = first[:, None] - 1 + torch.arange(keep, device=ids.device)
        inside = where < mask.sum(dim=1)[:, None] - 1
        where = where.clamp(min=0, max=ids.size(1) - 2)
        logps.append(out.log_probs.gather(1, where) * inside)
        entropies.append(out.entropy.gather(1, where) * inside if entropy else None)
        losses.append(out.aux_loss * mask.sum() if aux_loss else None)
        done.append(rows)
    order, empty = torch.cat(done), torch.zeros(len(input_ids), keep, device=input_ids.device)
    return (
        empty.index_copy(0, order, torch.cat(logps).to(empty))[run_for],
        empty.index_copy(0, order, torch.cat(entropies).to(empty))[run_for] if entropy else None,
        torch.stack(losses).sum() / all_rows.lengths[order].sum() if aux_loss else None,
    )


Part = tuple[Tensor, Tensor, dict[str, Any], Tensor]
"""Rows of one forward pass, (R); their columns, (R, width); the model's inputs; each one's first completion token."""


def _whole(all_rows: Rows, order: Tensor, batch_tokens: int) -> Iterator[Part]:
    """Prompt and completion of each row."""
    for rows in budget(order, all_rows.lengths[order].tolist(), batch_tokens):
        first = all_rows.prompts[rows]
        places, mask = all_rows.places(rows, torch.zeros_like(first), all_rows.lengths[rows])
        yield rows, places, _inputs(all_rows, rows, places, mask, first), first


def _after_prompts(model: Any, all_rows: Rows, prompts: Prompts, batch_tokens: int) -> Iterator[Part]:
    """The prompts but for their last tokens, then each row's rest with that: it stands before the first completion
    token and so predicts it."""
    for chunk in prompts.chunks(batch_tokens):
        read = chunk.read(model)
        for rows in budget(chunk.rows, chunk.sizes, batch_tokens):
            before = all_rows.prompts[rows] - 1
            places, mask = all_rows.places(rows, before, all_rows.lengths[rows] - before)
            first = torch.ones_like(before)
            inputs = _inputs(all_rows, rows, places, mask, first)
            inputs["position_ids"] = before[:, None] + torch.arange(places.size(1), device=places.device)
            yield rows, places, read.before(rows, inputs), first


def _inputs(all_rows: Rows, rows: Tensor, places: Tensor, mask: Tensor, first: Tensor) -> dict[str, Any]:
    """Ids, mask and labels: the head is paid for the completions only."""
    ids = all_rows.ids[rows].gather(1, places)
    given = torch.arange(places.size(1), device=ids.device) < first[:, None]
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": ids.masked_fill(~mask | given, -100)}
