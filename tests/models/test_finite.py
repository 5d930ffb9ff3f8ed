"""Weights that are no numbers are refused before anybody uses them."""

from __future__ import annotations

import pytest
import torch

from models.finite import DivergenceError, check_finite, smallest_trained


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_one_bad_weight_is_enough(value: float) -> None:
    state = {"good": torch.ones(3), "bad": torch.ones(4, 5)}
    state["bad"][2, 3] = value
    with pytest.raises(DivergenceError, match=r"^the weights are not finite after step 7 \(bad\): .*lower lr$"):
        check_finite(state, step=7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_large_weights_pass(dtype: torch.dtype) -> None:
    check_finite({"large": torch.full((1000,), 60_000).to(dtype)})


def test_the_smallest_trained_tensor_is_looked_at() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    assert smallest_trained(model).keys() == {"1.bias"}
    model[1].bias.requires_grad_(False)
    assert smallest_trained(model).keys() == {"0.bias"}
