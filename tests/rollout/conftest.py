"""One tiny random DeepSeek-V3 and one vLLM engine on it for the whole session: starting an engine takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.tiny import build_config, build_model

    path = tmp_path_factory.mktemp("tiny")
    config = build_config(160, hidden_size=64, layers=3, eos_token_id=1, bos_token_id=0, pad_token_id=2)
    build_model(config, seed=0).save_pretrained(path)
    return path


@pytest.fixture
def tiny_model(tiny_path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def shared_engine(tiny_path: Path) -> Iterator[Any]:
    from rollout.vllm_engine import VllmEngine, VllmOptions

    engine = VllmEngine(tiny_path, VllmOptions(max_model_len=128, max_num_seqs=32))
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: Any, tiny_model: Any) -> Any:
    """The shared engine with the weights of the model folder, whatever an earlier test left in it."""
    shared_engine.sync(tiny_model)
    return shared_engine
