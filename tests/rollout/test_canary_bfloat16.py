"""The canary with bfloat16 rollouts of a trained model: rounding passes, a fault of the same size class does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.checkpoint import load_model
from models.tiny import TINY_BASE
from models.zoo import update_all_tensors
from rollout.canary import Canary, CanaryFailure
from rollout.forward import model_logprobs, rounding_gaps
from rollout.hf_engine import HfEngine


@pytest.fixture(scope="module")
def trained() -> Any:
    return load_model(TINY_BASE).eval()


@pytest.fixture
def engine(trained: Any) -> HfEngine:
    made = HfEngine(TINY_BASE, dtype="bfloat16")
    made.sync(trained)
    return made


def test_rounding_of_a_trained_model_is_no_failure(trained: Any, engine: HfEngine) -> None:
    canary = Canary(trained.config.vocab_size, precision="bfloat16")
    gap = canary.check(trained, engine)
    assert gap.rounds == 1 and (gap.max > canary.max_gap or gap.mean > canary.mean_gap), "what the fixed limits refuse"
    with pytest.raises(CanaryFailure):
        Canary(trained.config.vocab_size, precision="bfloat16", max_gap=0.5).check(trained, engine)


def stale_engine(model: Any) -> None:
    update_all_tensors(model, 0.2, seed=1, relative=True)


def expert_layer_off(model: Any) -> None:
    model.model.layers[1].mlp.experts.down_proj.data.zero_()


def experts_rotated(model: Any) -> None:
    down = model.model.layers[-1].mlp.experts.down_proj
    down.data = down.data.roll(1, 0)


@pytest.mark.parametrize("break_", [stale_engine, expert_layer_off, experts_rotated])
def test_a_fault_is_one(trained: Any, engine: HfEngine, break_: Callable[[Any], None]) -> None:
    break_(engine._model)
    with pytest.raises(CanaryFailure, match="disagree"):
        Canary(trained.config.vocab_size, precision="bfloat16").check(trained, engine)


def test_measuring_the_rounding_leaves_the_model_as_it_was(trained: Any) -> None:
    ids = [[5, 6, 7, 8], [9, 10]]
    before = model_logprobs(trained, ids)
    gaps = rounding_gaps(trained, ids)
    assert len(gaps) == 4 and max(gaps) > 0 and trained.dtype == torch.float32
    assert model_logprobs(trained, ids) == before
    assert rounding_gaps(load_model(TINY_BASE, "bfloat16"), ids) != [0.0] * 4
