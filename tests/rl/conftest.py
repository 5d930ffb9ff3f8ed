"""A tiny random DeepSeek-V3 with a tokenizer, and one vLLM engine on it for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def policy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.checkpoint import save_model
    from models.tiny import build_config, build_model
    from models.tokenizer import train_tokenizer

    path = tmp_path_factory.mktemp("policy")
    texts = [f"Count to {i} <think>a b</think><answer>{i}</answer>" for i in range(50)]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    config = build_config(
        len(tokenizer),
        hidden_size=64,
        layers=2,
        heads=2,
        expert_size=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_model(build_model(config, seed=0), tokenizer, path)
    return path


@pytest.fixture(scope="session")
def policy_engine(policy_path: Path) -> Iterator[Any]:
    from rollout.vllm_engine import VllmEngine, VllmOptions

    engine = VllmEngine(policy_path, VllmOptions(max_model_len=128, max_num_seqs=32, routes=True))
    yield engine
    engine.close()
