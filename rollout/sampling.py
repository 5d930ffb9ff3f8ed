"""Sampling at scale: many prompts through one engine, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rollout.requests import request_seed
from rollout.types import Engine, Rollout, SamplingParams

Progress = Callable[[int, int], None]
"""Called after each chunk with (prompts in the chunk, completion tokens in the chunk)."""


def sample_chunks(
    engine: Engine,
    prompts_ids: Sequence[Sequence[int]],
    params: SamplingParams,
    n: int,
    *,
    chunk: int = 64,
    start: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[int, list[list[Rollout]]]]:
    """Yield (index of the chunk's first prompt, `n` rollouts for each of its prompts), in order.

    Each chunk has its own seed, derived from `params.seed` and its first index: a run that goes on from `start` (a
    multiple of `chunk`) draws the same rollouts as one that was never interrupted.
    """
    assert start % chunk == 0, "a resumed run starts where a chunk starts"
    for first in range(start, len(prompts_ids), chunk):
        seed = None if params.seed is None else request_seed(params.seed, first) % 2**31
        groups = engine.generate(prompts_ids[first : first + chunk], replace(params, seed=seed), n)
        if progress is not None:
            progress(len(groups), sum(len(rollout.completion_ids) for group in groups for rollout in group))
        yield first, groups
