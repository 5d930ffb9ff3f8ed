"""Importance sampling of trainer against engine: pi_old / mu, what the same weights give in two programs."""

from __future__ import annotations

import torch
from torch import Tensor

from rl.config import GrpoSettings


def correction_weights(logps: Tensor, engine: Tensor, mask: Tensor, settings: GrpoSettings) -> Tensor:
    """Weights of the loss, (B, C) for a correction by token and (B, 1) by sequence.

    `logps`, `engine`: log pi_old and log mu of the completions (B, C), `mask` their real tokens. `truncate` caps the
    ratio at `correction_cap` (and lifts it to `correction_floor`), `mask` puts 0 outside the two. A token that the
    engine did not score has ratio 1. As TRL computes them from a pass of its own; in the first update of a batch
    pi_old is pi, and the update's own log-probs do.
    """
    difference = torch.nan_to_num((logps - engine) * mask, nan=0.0)
    if settings.correction.startswith("sequence"):
        difference = difference.sum(dim=-1, keepdim=True)
    ratio, low, high = difference.exp(), settings.correction_floor, settings.correction_cap
    if settings.correction.endswith("truncate"):
        return ratio.clamp(min=low, max=high)
    outside = (ratio > high) | (ratio < low) if low is not None else ratio > high
    return ratio.masked_fill(outside, 0.0)


def correction_numbers(weights: Tensor, mask: Tensor) -> dict[str, float]:
    """Least, mean and largest weight over the tokens (or sequences) that are run."""
    used = weights[mask.bool()] if weights.shape == mask.shape else weights[mask.any(dim=1)]
    if not len(used):
        return {}
    return {f"correction/{name}": float(getattr(used, name)()) for name in ("min", "mean", "max")}
