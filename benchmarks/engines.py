"""Rollout throughput: vLLM in this process against one and two `vllm serve` replicas, on the shipped tiny base.

    python benchmarks/engines.py [--requests 512] [--tokens 128] [--rounds 3]

Every engine draws the same batch (equal seeds) `rounds` times and syncs as often; medians, and how many completions are
the same. One engine at a time, all in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def measure(engine: Any, model: Any, prompts: list[list[int]], params: Any, rounds: int) -> dict[str, Any]:
    """Median tokens per second and seconds per sync, and the tokens of the last batch."""
    speeds, syncs, tokens = [], [], []
    engine.generate(prompts[:8], params, 1)  # the first batch pays for what is set up lazily
    for _ in range(rounds):
        began = time.perf_counter()
        engine.sync(model)
        synced = time.perf_counter()
        groups = engine.generate(prompts, params, 1)
        seconds = time.perf_counter() - synced
        tokens = [rollout.completion_ids for group in groups for rollout in group]
        speeds.append(sum(map(len, tokens)) / seconds)
        syncs.append(synced - began)
    return {"tokens/s": statistics.median(speeds), "sync s": statistics.median(syncs), "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    from models.checkpoint import load_model, load_tokenizer
    from rollout.server_engine import ServerEngine
    from rollout.types import SamplingParams
    from rollout.vllm_engine import VllmEngine, VllmOptions

    path = Path(__file__).resolve().parents[1] / "models" / "tiny_base"
    model, tokenizer = load_model(path), load_tokenizer(path)
    prompts = [tokenizer(f"What is {i} + {2 * i + 1}?")["input_ids"] for i in range(args.requests)]
    params = SamplingParams(max_tokens=args.tokens, seed=0)
    options = VllmOptions(max_model_len=args.tokens + max(map(len, prompts)))
    engines = {
        "in process": lambda: VllmEngine(path, options),
        "server x 1": lambda: ServerEngine(path, options, replicas=1),
        "server x 2": lambda: ServerEngine(path, options, replicas=2),
    }
    print(f"{args.requests} requests, at most {args.tokens} tokens each, {len(os.sched_getaffinity(0))} cores")
    print(f"| {'engine':<10} | start s | tokens/s | sync s | same tokens as in process |")
    print("|---|---|---|---|---|")
    first: list[list[int]] = []
    for name, make in engines.items():
        began = time.perf_counter()
        engine = make()
        started = time.perf_counter() - began
        found = measure(engine, model, prompts, params, args.rounds)
        engine.close()
        first = first or found["tokens"]
        same = sum(a == b for a, b in zip(first, found["tokens"], strict=True))
        print(
            f"| {name} | {started:.1f} | {found['tokens/s']:,.0f} | {found['sync s']:.2f} | {same} of {len(first)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
