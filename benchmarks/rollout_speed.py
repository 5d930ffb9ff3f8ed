"""Our engines against a bare `vllm.LLM.generate` and `transformers.generate`, in turns.

    .venv/bin/python benchmarks/rollout_speed.py

`bare, same requests` draws the very tokens that our engine draws, from the same `LLM` object: the difference is ours.
`bare, n=16` is what one would write first: a request for each prompt, unseeded. Also the time of a sync and the canary.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROMPTS, GROUP, LENGTH = 16, 16, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "tiny_base"))
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from rollout.process import set_vllm_environment

    set_vllm_environment()
    from models.checkpoint import load_model, load_tokenizer
    from rollout.canary import Canary
    from rollout.hf_engine import HfEngine
    from rollout.types import SamplingParams
    from rollout.vllm_engine import VllmEngine, VllmOptions

    tokenizer = load_tokenizer(options.model)
    prompts = [tokenizer.encode(f"{i} + {3 * i} = ") for i in range(10, 10 + PROMPTS)]
    params = SamplingParams(max_tokens=LENGTH, seed=0)
    engine = VllmEngine(options.model, VllmOptions(max_model_len=256))
    plain, trainer = HfEngine(options.model), load_model(options.model)
    draws = {
        "ours, vLLM": lambda: tokens_of(engine.generate(prompts, params, GROUP)),
        "bare, same requests": lambda: bare(engine, prompts, params, same=True),
        "bare, n=16": lambda: bare(engine, prompts, params, same=False),
        "ours, transformers": lambda: tokens_of(plain.generate(prompts, params, GROUP)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in draws}
    tokens = {name: draw() for name, draw in draws.items()}  # once for warmth
    for turn in range(options.turns):
        for name, draw in draws.items():
            if name == "ours, transformers" and turn % 2:
                continue  # the slow one every other time
            seconds[name].append(clock(draw))
    first = statistics.median(seconds["bare, same requests"]) / tokens["bare, same requests"]
    print(f"{'engine':<22}{'tokens':>8}{'s':>8}{'tokens/s':>10}{'time per token':>16}")
    for name in draws:
        median = statistics.median(seconds[name])
        cells = f"{tokens[name]:>8}{median:>8.2f}{tokens[name] / median:>10.0f}"
        print(f"{name:<22}{cells}{median / tokens[name] / first:>15.2f}x")
    canary = Canary(trainer.config.vocab_size, texts=prompts[:2])
    syncs = [clock(lambda: engine.sync(trainer)) for _ in range(10)]
    checks = [clock(lambda: canary.check(trainer, engine)) for _ in range(10)]
    print(f"sync {1000 * statistics.median(syncs):.0f} ms, canary {1000 * statistics.median(checks):.0f} ms")
    engine.close()


def clock(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tokens_of(groups: Any) -> int:
    return sum(len(rollout.completion_ids) for group in groups for rollout in group)


def bare(engine: Any, prompts: list[list[int]], params: Any, *, same: bool) -> int:
    """vLLM's own call, on the engine's `LLM`; returns how many tokens came."""
    import torch
    import vllm

    from rollout.requests import request_seed

    def wanted(n: int, seed: int | None) -> Any:
        return vllm.SamplingParams(
            n=n, seed=seed, temperature=1.0, max_tokens=params.max_tokens, stop_token_ids=sorted(engine.eos_ids),
            logprobs=0, detokenize=False,
        )  # fmt: skip

    copies = GROUP if same else 1
    requests = [vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts for _ in range(copies)]
    if same:
        wishes = [wanted(1, request_seed(params.seed, i)) for i in range(len(requests))]
    else:
        wishes = [wanted(GROUP, None)] * len(requests)
    with torch.compiler.set_stance("force_eager"):
        outputs = engine._llm.generate(requests, wishes, use_tqdm=False)
    return sum(len(completion.token_ids) for output in outputs for completion in output.outputs)


if __name__ == "__main__":
    main()
