"""A prompt is run once for its group: the same numbers, fewer tokens, and the plain way where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.zoo import ARCHITECTURES, VOCABULARY, write_random
from rl.config import GrpoSettings
from tests.rl.trainers import make_trainer

SLIDING = {"gpt_oss"}


def batch(prompts: list[int], completions: list[int], vocabulary: int) -> tuple[Any, Any]:
    """(ids, mask): each prompt (by length) before each completion, in a mixed order."""
    import torch

    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(3, vocabulary, (n,), generator=draw).tolist() for n in prompts]
    rows = [(p, torch.randint(3, vocabulary, (n,), generator=draw).tolist()) for n in completions for p in texts]
    before, after = max(prompts), max(completions)
    ids = torch.tensor([[0] * (before - len(p)) + p + c + [0] * (after - len(c)) for p, c in rows])
    mask = torch.tensor([[0] * (before - len(p)) + [1] * len(p + c) + [0] * (after - len(c)) for p, c in rows])
    return ids, mask


def read_all(model: Any, ids: Any, mask: Any, keep: int, budget: int, **how: Any) -> tuple[Any, Any, list[Any], int]:
    """(log-probs, entropies, gradients, tokens that the model was given)."""
    from rl.logprobs import completion_logprobs

    given: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    model.zero_grad()
    logps, entropy, _ = completion_logprobs(model, ids, mask, keep, batch_tokens=budget, entropy=True, **how)
    (logps.sum() + 0.3 * entropy.sum()).backward()
    hook.remove()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return logps.detach(), entropy.detach(), gradients, sum(given)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - SLIDING))
def test_values_and_gradients_are_those_of_the_plain_way(name: str, tmp_path: Path) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from models.checkpoint import load_model
    from rl.shared_prompts import can_share

    write_random(name, tmp_path / "m")
    model = load_model(tmp_path / "m").train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    assert can_share(model.config)
    ids, mask = batch([7, 3, 5], [6, 1, 4, 9], VOCABULARY)
    mask[4, 7:] = 0  # one completion is not wanted
    plain = read_all(model, ids, mask, 9, 10_000)
    for budget in (1, 40, 10_000):
        shared = read_all(model, ids, mask, 9, budget, share_prompts=True)
        assert torch.allclose(plain[0], shared[0], atol=2e-5) and torch.allclose(plain[1], shared[1], atol=2e-5)
        assert len(plain[2]) == len(shared[2])
        for a, b in zip(plain[2], shared[2], strict=True):
            assert torch.allclose(a, b, atol=2e-4 * max(1.0, float(a.abs().max())))
    assert shared[3] < plain[3]


def test_each_prompt_is_run_once(policy_path: Path, tmp_path: Path) -> None:
    settings = GrpoSettings(group=8, prompts_per_step=2, max_tokens=4, beta=0.0)
    trainer = make_trainer(policy_path, tmp_path, settings)
    assert trainer._shares_prompts
    ids, mask = batch([21, 21], [4] * 8, 200)
    assert read_all(trainer.model, ids, mask, 4, 10_000)[3] == 16 * 25
    assert read_all(trainer.model, ids, mask, 4, 10_000, share_prompts=True)[3] == 2 * 20 + 16 * 5


@pytest.mark.parametrize(("prompts", "completions"), [([9, 4, 6], [5]), ([9, 1], [5, 5, 5])])
def test_prompts_of_their_own_and_prompts_of_one_token_are_run_as_they_are(
    prompts: list[int], completions: list[int], policy_path: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    ids, mask = batch(prompts, completions, 200)
    runs = [read_all(trainer.model, ids, mask, 5, 10_000, share_prompts=share) for share in (False, True)]
    assert runs[0][3] == runs[1][3] and (runs[0][0] == runs[1][0]).all()


@pytest.mark.parametrize("knobs", [
    {"share_prompts": False}, {"router": "bias_update(0.001)"}, {"gradient_checkpointing": True},
    {"router_replay": "r3", "engine": "vllm"},
])  # fmt: skip
def test_what_needs_the_batch_as_it_is_gets_it(knobs: dict[str, Any]) -> None:
    assert GrpoSettings().can_share
    assert not GrpoSettings(**knobs).can_share


def test_a_model_with_a_window_does_not_share() -> None:
    from transformers import AutoConfig

    from rl.shared_prompts import can_share

    for name, fields in ARCHITECTURES.items():
        assert can_share(AutoConfig.for_model(name, **fields)) == (name not in SLIDING), name
    assert not can_share(AutoConfig.for_model("qwen3_next"))
    stretched = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    assert not can_share(AutoConfig.for_model("llama", rope_parameters=stretched))


def test_short_prompts_before_long_completions_are_run_as_they_are(policy_path: Path, tmp_path: Path) -> None:
    """Attention after a cache takes no flash kernel, which such rows would miss more than their prompts cost."""
    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    ids, mask = batch([6], [30] * 4, 200)
    assert read_all(trainer.model, ids, mask, 30, 10_000, share_prompts=True)[3] == 4 * 36


def test_a_reference_that_an_aux_run_has_left_its_mark_on(tmp_path: Path) -> None:
    """`output_router_logits` in config.json asks for a loss over tokens and mask, which differ in length here."""
    import torch

    from models.checkpoint import load_model
    from rl.logprobs import completion_logprobs
    from rl.reference import ModelReference

    write_random("mixtral", tmp_path / "m")
    model = load_model(tmp_path / "m")
    model.config.output_router_logits = True
    ids, mask = batch([7, 5], [6, 3, 4, 9], VOCABULARY)
    with torch.no_grad():
        found = completion_logprobs(ModelReference(model, 1.0), ids, mask, 9, batch_tokens=999, share_prompts=True)
    assert found[0].shape == (8, 9) and found[0].any()


def test_the_load_of_the_experts_counts_each_token_that_ran(policy_path: Path, tmp_path: Path) -> None:
    """Completions after a shared prompt: the mask covers the prompt's keys too, and only their own tokens count."""
    from models.router import RouterPolicy, RouterWatch

    settings = GrpoSettings(group=8, prompts_per_step=2, max_tokens=4, beta=0.0)
    trainer = make_trainer(policy_path, tmp_path, settings)
    watch = RouterWatch(trainer.model, RouterPolicy.parse("frozen"))
    ids, mask = batch([9, 5], [4, 2, 3, 1], 200)
    read_all(trainer.model, ids, mask, 4, 10_000, share_prompts=True)
    top_k = trainer.model.config.num_experts_per_tok
    ran = (8 + 4) + 2 * (5 + 3 + 4 + 2)  # two prompts but for their last tokens, which come with each completion
    assert float(watch._counts[0].sum()) == ran * top_k
    watch.close()


@pytest.mark.parametrize(
    ("name", "prompts"),
    [("deepseek_v3", False), ("deepseek_v3", True), ("qwen3", False), ("qwen3", True), ("gpt_oss", False)],
)
def test_equal_samples_are_run_once_and_their_gradients_add_up(name: str, prompts: bool, tmp_path: Path) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from models.checkpoint import load_model

    write_random(name, tmp_path / "m")
    model = load_model(tmp_path / "m").train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids, mask = batch([7, 3], [6, 1, 4], VOCABULARY)
    again = torch.tensor([1, 3, 0, 1, 2, 4, 1, 5, 2])  # row 1 three times, row 2 twice
    ids, mask = ids[again], mask[again]
    ids[0, 0] = 9  # before its prompt: what is masked makes no difference
    mask[7, 7:] = 0  # not wanted
    plain = read_all(model, ids, mask, 6, 40, share_prompts=prompts)
    shared = read_all(model, ids, mask, 6, 40, share_prompts=prompts, share_rows=True)
    assert torch.allclose(plain[0], shared[0], atol=2e-5) and torch.allclose(plain[1], shared[1], atol=2e-5)
    assert not shared[0][7].any() and (shared[0][0] == shared[0][3]).all()
    for a, b in zip(plain[2], shared[2], strict=True):
        assert torch.allclose(a, b, atol=2e-4 * max(1.0, float(a.abs().max())))
    assert shared[3] < 0.8 * plain[3]


def test_one_completion_after_two_prompts_is_two_samples(policy_path: Path, tmp_path: Path) -> None:
    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    ids, mask = batch([4, 4], [5], 200)
    ids[1, 4:] = ids[0, 4:]
    plain, shared = (read_all(trainer.model, ids, mask, 5, 10_000, share_rows=share) for share in (False, True))
    assert plain[3] == shared[3] and (plain[0] == shared[0]).all() and (plain[0][0] != plain[0][1]).any()
    ids[1] = ids[0]
    mask[1, -1] = 0  # the same beginning, cut short
    shared = read_all(trainer.model, ids, mask, 5, 10_000, share_rows=True)
    assert shared[3] == plain[3] and not shared[0][1, -1] and shared[0][0, -1]
