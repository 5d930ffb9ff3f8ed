"""Weights that training has spoilt are told as such, before an engine draws from them or a stage hands them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class DivergenceError(ValueError):
    """Weights are not numbers any more; the message is one line for the user."""


def check_finite(state: Mapping[str, Tensor], *, step: int | None = None) -> None:
    """DivergenceError where the norm of a tensor of `state` is not finite: an infinity, a NaN, or as good as."""
    import torch

    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        wide = tensor if tensor.dtype.itemsize >= 4 else tensor.float()
        if not bool(torch.linalg.vector_norm(wide.detach()).isfinite()):
            when = "" if step is None else f" after step {step}"
            raise DivergenceError(f"the weights are not finite{when} ({name}): training has diverged: lower lr")


def smallest_trained(model: Any) -> dict[str, Tensor]:
    """The smallest tensor that `model` trains, by name. One gradient that is not finite makes the norm so that all are
    clipped by, and with it every trained tensor: to look at one of them costs nothing and is enough."""
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    name = min(trained, key=lambda name: trained[name].numel())
    return {name: trained[name]}
