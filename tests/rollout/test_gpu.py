"""What only a GPU shows: latent attention expanded, graphs, sleep, experts that vLLM itself returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rollout.types import Rollout, SamplingParams

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.xdist_group("gpu"),
]

BASE = Path(__file__).parents[2] / "models" / "tiny_base"
PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17], [8]]
SIZES = {"max_model_len": 128, "max_num_seqs": 32, "kv_cache_gib": 2.0, "gpu_memory": 0.1, "dtype": "bfloat16"}


@pytest.fixture
def model() -> Any:
    from models.checkpoint import load_model

    return load_model(BASE).eval()


def close(model: Any, engine: Any) -> bool:
    """Whether the engine is no further from the trainer than the trainer's own bfloat16 is, twice over."""
    from rollout.canary import Canary
    from rollout.forward import rounding_gaps

    canary = Canary(model.config.vocab_size, precision="bfloat16", sequences=8)
    rounding = rounding_gaps(model, canary.probes[0])
    return canary.measure(model, engine, canary.probes[0]).mean <= 2 * sum(rounding) / len(rounding)


def decodes(engine: Any) -> bool:
    """Whether drawn tokens have the log-probs that they have when read as a prompt: no graph holds old weights."""
    groups = engine.generate(PROMPTS, SamplingParams(max_tokens=32, seed=1), 4)
    rollouts = [rollout for group in groups for rollout in group]
    read = engine.logprobs([r.prompt_ids + r.completion_ids for r in rollouts])
    gaps = [
        abs(drawn - forced)
        for r, values in zip(rollouts, read, strict=True)
        for drawn, forced in zip(r.logprobs, values[len(r.prompt_ids) - 1 :], strict=True)
    ]
    return sum(gaps) / len(gaps) < 0.1


def ids(engine: Any) -> list[list[int]]:
    groups = engine.generate(PROMPTS, SamplingParams(max_tokens=32, seed=0), 4)
    return [rollout.completion_ids for group in groups for rollout in group]


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graphs"])
def test_a_sync_reaches_the_engine_and_sleep_frees_the_gpu(model: Any, eager: bool) -> None:
    from models.zoo import update_all_tensors
    from rollout.vllm_engine import VllmEngine, VllmOptions

    engine = VllmEngine(BASE, VllmOptions(**SIZES, eager=eager, sleeps=True))
    assert close(model, engine)
    for seed in range(2):
        update_all_tensors(model, 0.2, seed=seed, relative=True)
        assert not close(model, engine)
        engine.sync(model)
        assert close(model, engine) and decodes(engine)
    drawn, free = ids(engine), torch.cuda.mem_get_info()[0]
    engine.sleep()
    assert torch.cuda.mem_get_info()[0] - free > 1.9 * 2**30
    engine.sync(model)
    assert close(model, engine) and ids(engine) == drawn
    engine.close()


@pytest.mark.parametrize("servers", [0, 2])
def test_experts_come_with_the_rollouts(servers: int) -> None:
    from rollout.server_engine import ServerEngine
    from rollout.vllm_engine import VllmEngine, VllmOptions

    options = VllmOptions(**SIZES, routes=True)
    engine: Any = ServerEngine(BASE, options, replicas=servers) if servers else VllmEngine(BASE, options)
    rollouts: list[Rollout] = [r for g in engine.generate(PROMPTS, SamplingParams(max_tokens=8), 2) for r in g]
    engine.close()
    for rollout in rollouts:
        assert rollout.experts.shape == (len(rollout.prompt_ids) + len(rollout.completion_ids) - 1, 3, 2)
