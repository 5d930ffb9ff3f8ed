"""Teacher-forced log-probabilities of a `transformers` model: what the canary and the fallback engine compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def model_logprobs(model: Any, ids: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[list[float]]:
    """Natural log-probabilities (nats) of ids[1:] for each sequence, without gradient, in the model's own dtype.

    Sequences are padded on the right, longest first, about `batch_tokens` tokens at a time; order is kept. The model's
    train/eval mode is left as it was.
    """
    import torch

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    result: list[list[float]] = [[] for _ in ids]
    try:
        with torch.no_grad():
            for rows in length_batches(ids, batch_tokens):
                length = len(ids[rows[0]])
                tokens = torch.tensor([list(ids[i]) + [0] * (length - len(ids[i])) for i in rows], device=device)
                mask = torch.tensor([[1] * len(ids[i]) + [0] * (length - len(ids[i])) for i in rows], device=device)
                logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1].float()
                chosen = logits.gather(-1, tokens[:, 1:, None])[..., 0] - logits.logsumexp(-1)
                for row, values in zip(rows, chosen.tolist(), strict=True):
                    result[row] = values[: len(ids[row]) - 1]
    finally:
        model.train(was_training)
    return result


def rounding_gaps(model: Any, ids: Sequence[Sequence[int]]) -> list[float]:
    """What bfloat16 costs this model: absolute log-probability differences (nats) of ids[1:], bfloat16 against float32.

    The weights are cast to the other of the two for one forward and put back; buffers (rotary frequencies, selection
    biases) stay as they are, as they do in an engine.
    """
    import torch

    other = torch.bfloat16 if model.dtype == torch.float32 else torch.float32
    kept = [(parameter, parameter.data) for parameter in model.parameters()]
    ours = model_logprobs(model, ids)
    try:
        for parameter, data in kept:
            parameter.data = data.to(other)
        theirs = model_logprobs(model, ids)
    finally:
        for parameter, data in kept:
            parameter.data = data
    return [abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]


def length_batches(ids: Sequence[Sequence[int]], batch_tokens: int) -> list[list[int]]:
    """Row indices, longest first, cut so that rows x longest stays within `batch_tokens` (at least one row each)."""
    batches: list[list[int]] = []
    for row in sorted(range(len(ids)), key=lambda i: -len(ids[i])):
        if not batches or (len(batches[-1]) + 1) * len(ids[batches[-1][0]]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches
