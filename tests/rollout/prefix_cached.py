"""In a process of its own (two vLLM engines in one end badly): gaps between engine and trainer, as JSON.

Before an update, after it but before the sync, after the sync; with prompts of which two blocks are cached.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def largest_gap(model: Any, engine: Any, prompts: list[list[int]]) -> float:
    """Of what the engine says of its samples, to what the trainer says of them."""
    from rollout.forward import model_logprobs
    from rollout.types import SamplingParams

    rollouts = [r for group in engine.generate(prompts, SamplingParams(max_tokens=6, seed=0), 4) for r in group]
    expected = model_logprobs(model, [r.prompt_ids + r.completion_ids for r in rollouts])
    return max(
        abs(a - b)
        for r, values in zip(rollouts, expected, strict=True)
        for a, b in zip(r.logprobs, values[len(r.prompt_ids) - 1 :], strict=True)
    )


def main(folder: Path) -> None:
    from models.checkpoint import load_model
    from models.zoo import update_all_tensors, write_random
    from rollout.process import set_vllm_environment

    set_vllm_environment()
    from rollout.vllm_engine import VllmEngine, VllmOptions

    write_random("qwen3_moe", folder)
    model = load_model(folder)
    engine = VllmEngine(folder, VllmOptions(max_model_len=128, max_num_seqs=8))
    prompts = [[3 + (7 * i + j) % 200 for i in range(80)] for j in range(2)]
    gaps = [largest_gap(model, engine, prompts)]
    update_all_tensors(model, 0.05, seed=1)
    gaps.append(largest_gap(model, engine, prompts))
    engine.sync(model)
    gaps.append(largest_gap(model, engine, prompts))
    cache = engine._llm.llm_engine.vllm_config.cache_config
    print(json.dumps({"gaps": gaps, "cached": cache.enable_prefix_caching, "block": cache.block_size}))
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
