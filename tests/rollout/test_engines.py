"""Both engines against the trainer's own forward and against each other."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rollout.factory import make_engine, resolve_kind
from rollout.requests import request_seed, stop_token_ids
from rollout.sampling import sample_chunks
from rollout.types import Rollout, SamplingParams

pytestmark = pytest.mark.xdist_group("vllm")  # one process starts vLLM, not two

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17]]


def test_vllm_is_deterministic_and_groups_differ(engine: Any) -> None:
    params = SamplingParams(max_tokens=12, seed=3)
    first, again = engine.generate(PROMPTS, params, 4), engine.generate(PROMPTS, params, 4)
    other = engine.generate(PROMPTS, SamplingParams(max_tokens=12, seed=4), 4)
    assert first == again != other
    assert [group[0].prompt_ids for group in first] == PROMPTS
    assert all(len({tuple(r.completion_ids) for r in group}) == 4 for group in first)


def test_each_is_told_of_a_rollout_before_the_last_is_there(engine: Any) -> None:
    stops, told, early = tuple(range(3, 23)), dict[int, Rollout](), list[int]()

    def each(place: int, rollout: Rollout) -> None:
        early.append(engine._llm.llm_engine.get_num_unfinished_requests())
        told[place] = rollout

    groups = engine.generate(PROMPTS, SamplingParams(max_tokens=40, seed=0, stop_ids=stops), 4, each=each)
    flat = [rollout for group in groups for rollout in group]
    assert [told[place] for place in range(12)] == flat and len(told) == 12
    assert early[0] > 0 and early[-1] == 0


def test_a_draw_that_is_broken_off_leaves_nothing_behind(engine: Any) -> None:
    params = SamplingParams(max_tokens=40, seed=0, stop_ids=tuple(range(3, 23)))
    whole = engine.generate(PROMPTS, params, 4)

    def stop(place: int, rollout: Rollout) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(PROMPTS, params, 4, each=stop)
    assert engine.generate(PROMPTS, params, 4) == whole


def test_sampler_logprobs_are_the_natural_ones(engine: Any) -> None:
    """At T 0.7 and top-p 0.9 the log-probs still are those of the untouched distribution."""
    groups = engine.generate(PROMPTS, SamplingParams(temperature=0.7, top_p=0.9, max_tokens=12, seed=0), 2)
    rollouts = [rollout for group in groups for rollout in group]
    forced = engine.logprobs([r.prompt_ids + r.completion_ids for r in rollouts])
    for rollout, values in zip(rollouts, forced, strict=True):
        assert rollout.logprobs == pytest.approx(values[len(rollout.prompt_ids) - 1 :], abs=1e-4)


def test_generation_ends_at_stop_ids(engine: Any) -> None:
    stops = tuple(range(3, 83))
    params = SamplingParams(max_tokens=20, seed=0, stop_ids=stops)
    rollouts = [rollout for group in engine.generate(PROMPTS, params, 4) for rollout in group]
    for rollout in rollouts:
        ended = rollout.completion_ids[-1] in {1, *stops}
        assert ended == (rollout.finish == "stop") and len(rollout.completion_ids) <= 20
    assert Counter(r.finish for r in rollouts)["stop"] > 0


def test_engines_agree(engine: Any, tiny_path: Path) -> None:
    fallback = make_engine("transformers", tiny_path)
    ids = [[5, 6, 7, 8, 9, 10], [40, 30, 20], list(range(3, 60))]
    for ours, theirs in zip(fallback.logprobs(ids), engine.logprobs(ids), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    greedy = SamplingParams(temperature=0.0, max_tokens=8)
    assert tokens(fallback.generate(PROMPTS, greedy, 1)) == tokens(engine.generate(PROMPTS, greedy, 1))
    fallback.close()


def test_fallback_engine_samples_and_syncs(tiny_path: Path, tiny_model: Any) -> None:
    import torch

    fallback = make_engine("transformers", tiny_path)
    params = SamplingParams(max_tokens=6, seed=1)
    state = torch.random.get_rng_state()
    first = fallback.generate(PROMPTS, params, 2)
    assert torch.equal(state, torch.random.get_rng_state()), "sampling must not disturb the trainer's generator"
    told: dict[int, Rollout] = {}
    assert first == fallback.generate(PROMPTS, params, 2, each=told.__setitem__)
    assert [told[place] for place in range(6)] == [rollout for group in first for rollout in group]
    before = fallback.logprobs([PROMPTS[0]])
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(3)
    assert fallback.logprobs([PROMPTS[0]]) == before
    fallback.sync(tiny_model)
    assert fallback.logprobs([PROMPTS[0]]) != before
    fallback.close()


def test_the_process_is_left_as_it_was(shared_engine: Any) -> None:
    import os

    import torch

    assert "LD_PRELOAD" not in os.environ
    assert torch.set_num_threads.__module__ != "vllm.v1.worker.cpu_worker"
    assert torch.get_default_dtype() == torch.float32


def test_sampling_in_chunks_resumes_to_the_same_rollouts(engine: Any) -> None:
    prompts = [[5 + i, 6 + i] for i in range(6)]
    seen: list[int] = []
    params = SamplingParams(max_tokens=5, seed=0)
    whole = list(sample_chunks(engine, prompts, params, 2, chunk=2, progress=lambda n, tokens: seen.append(tokens)))
    rest = list(sample_chunks(engine, prompts, params, 2, chunk=2, start=4))
    assert [first for first, _ in whole] == [0, 2, 4] and rest == whole[2:]
    assert all(0 < count <= 20 for count in seen) and len(seen) == 3


def test_seeds_and_stop_ids(tiny_path: Path, tmp_path: Path) -> None:
    assert len({request_seed(seed, i) for seed in range(20) for i in range(50)}) == 1000
    assert stop_token_ids(tiny_path) == (1,) and stop_token_ids(tmp_path) == ()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [4, 5]}')
    assert stop_token_ids(tmp_path) == (4, 5)
    assert resolve_kind("auto") == "vllm"


def tokens(groups: list[list[Rollout]]) -> list[list[int]]:
    return [rollout.completion_ids for group in groups for rollout in group]


MANY = """
import sys
from models.zoo import write_random
from rollout.types import SamplingParams
from rollout.vllm_engine import VllmEngine, VllmOptions

write_random("qwen3", sys.argv[1])
engine = VllmEngine(sys.argv[1], VllmOptions(max_model_len=128, max_num_seqs=256))
groups = engine.generate([[5, 6, 7] * 20] * 24, SamplingParams(max_tokens=2, seed=3), 3)
assert [len(group) for group in groups] == [3] * 24
engine.close()
"""


def test_more_prompt_tokens_than_one_batch_holds(tmp_path: Path) -> None:
    """vLLM would prefill one prompt in two parts and then fail on its random generator (not with MLA)."""
    done = subprocess.run([sys.executable, "-c", MANY, tmp_path], capture_output=True, text=True)  # one engine each
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("shape", "heads", "on_gpu", "on_cpu"),
    [((128, 64, 128), 128, False, False), ((16, 64, 16), 4, True, True), (None, 4, False, False)],
    ids=["r1", "tiny", "no mla"],
)
def test_latent_attention_is_expanded_where_a_gpu_has_no_kernel_and_a_cpu_room(
    shape: tuple[int, int, int] | None, heads: int, on_gpu: bool, on_cpu: bool
) -> None:
    """R1 caches 576 numbers a token and layer and 49,152 expanded; the tiny base 576 and 640."""
    from types import SimpleNamespace

    from rollout.vllm_engine import _expands_latent

    names = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    sizes = {"kv_lora_rank": 512, **dict(zip(names, shape, strict=True))} if shape else {}
    config = SimpleNamespace(num_attention_heads=heads, **sizes)
    assert (_expands_latent(config, on_gpu=True), _expands_latent(config, on_gpu=False)) == (on_gpu, on_cpu)
