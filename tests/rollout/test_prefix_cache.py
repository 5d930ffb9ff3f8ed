"""A group's prompt is read once by the engine, and never with weights of before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.zoo import update_all_tensors, write_random
from rollout.types import SamplingParams

pytestmark = pytest.mark.xdist_group("vllm")


def largest_gap(model: Any, engine: Any, prompts: list[list[int]]) -> float:
    """Of what the engine says of its samples, to what the trainer says of them."""
    from rollout.forward import model_logprobs

    rollouts = [r for group in engine.generate(prompts, SamplingParams(max_tokens=6, seed=0), 4) for r in group]
    expected = model_logprobs(model, [r.prompt_ids + r.completion_ids for r in rollouts])
    return max(
        abs(a - b)
        for r, values in zip(rollouts, expected, strict=True)
        for a, b in zip(r.logprobs, values[len(r.prompt_ids) - 1 :], strict=True)
    )


def test_a_shared_prompt_is_cached_until_the_weights_change(tmp_path: Path) -> None:
    from models.checkpoint import load_model
    from rollout.vllm_engine import VllmEngine, VllmOptions

    write_random("qwen3_moe", tmp_path / "m")
    model = load_model(tmp_path / "m")
    engine = VllmEngine(tmp_path / "m", VllmOptions(max_model_len=128, max_num_seqs=8))
    try:
        prompts = [[3 + (7 * i + j) % 200 for i in range(80)] for j in range(2)]
        assert largest_gap(model, engine, prompts) < 1e-4
        cache = engine._llm.llm_engine.vllm_config.cache_config
        assert cache.enable_prefix_caching and cache.block_size == 32  # two full blocks of these prompts
        update_all_tensors(model, 0.05, seed=1)
        assert largest_gap(model, engine, prompts) > 0.01
        engine.sync(model)
        assert largest_gap(model, engine, prompts) < 1e-4
    finally:
        engine.close()
