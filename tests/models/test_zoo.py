"""Small random models: every architecture builds, is really random, and survives its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import load_model
from models.router import find_moe_layers
from models.zoo import ARCHITECTURES, build_random, update_all_tensors, write_random


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_folder_gives_back_the_model(architecture: str, tmp_path: Path) -> None:
    """Dense ones as well: asking transformers for an experts implementation by name refuses them."""
    write_random(architecture, tmp_path)
    expected, loaded = build_random(architecture).state_dict(), load_model(tmp_path).state_dict()
    assert expected.keys() == loaded.keys()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in expected.items())
    config = load_model(tmp_path).config
    assert config.model_type == architecture
    dense = architecture in ("llama", "qwen3")
    assert config._experts_implementation == ("eager" if dense else "grouped_mm"), (
        "the fast experts where there are any"
    )


def test_every_tensor_is_random_and_every_update_changes_every_tensor(architecture: str) -> None:
    model = build_random(architecture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert all(tensor.unique().numel() > 1 for tensor in before.values()), "no norm of ones, no bias of zeros"
    tied = 1 if model.config.tie_word_embeddings else 0
    assert update_all_tensors(model, 0.2, seed=1, relative=True) == len(before) - tied
    assert not any(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_dense_and_moe_are_what_they_say(architecture: str) -> None:
    layers = find_moe_layers(build_random(architecture))
    dense = {"deepseek_v3": 1, "deepseek_v2": 1, "glm4_moe": 1, "llama": 3, "qwen3": 3}.get(architecture, 0)
    assert len(layers) == (4 if architecture == "gpt_oss" else 3) - dense
    assert all(layer.n_experts == 8 for layer in layers)
