"""Mini-batches and accumulation: how a batch is cut decides nothing but when the weights move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rl.algorithms import ALGORITHMS
from rl.config import GrpoSettings
from rl.logprobs import completion_logprobs
from tests.rl.test_batch import gradient
from tests.rl.trainers import make_trainer

LENGTHS = [4, 1, 3, 2, 4, 4, 2, 1]


def batch(trainer: Any) -> dict[str, Any]:
    """Eight sequences of unequal length, sampled by a policy a little different from the trainer's."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 200, (8, 7), generator=draw)
    mask = torch.tensor([[1] * n + [0] * (4 - n) for n in LENGTHS])
    given = {
        "prompt_ids": ids[:, :3],
        "prompt_mask": torch.ones(8, 3, dtype=torch.long),
        "completion_ids": ids[:, 3:],
        "completion_mask": mask,
        "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 0.3, -0.3]),
        "num_items_in_batch": mask.sum().float(),
    }
    with torch.no_grad():
        whole = torch.cat([given["prompt_mask"], mask], dim=1)
        old = completion_logprobs(trainer.model, ids, whole, 4, batch_tokens=4096)[0]
    old = old + 0.4 * torch.randn(8, 4, generator=draw) * mask
    return {**given, "old_per_token_logps": old, "sampling_per_token_logps": old, "ref_per_token_logps": old}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_mean_of_the_mini_batches_is_the_unsplit_step(algorithm: Any, policy_path: Path, tmp_path: Path) -> None:
    """At fixed weights N mini-batches have the unsplit batch's gradient on average, whatever the lengths."""
    from trl.trainer.utils import split_tensor_dict

    def trainer(parts: int) -> Any:
        known = {"off_policy_mask": 0.5} if algorithm == "v3.2" else {}
        sizes = {"group": 2, "prompts_per_step": 4 // parts, "minibatches": parts}
        return make_trainer(policy_path, tmp_path, GrpoSettings(algorithm=algorithm, max_tokens=4, **sizes, **known))

    whole = trainer(1)
    given = batch(whole)
    loss, head, _ = gradient(whole, given)
    cut = trainer(4)
    parts = [gradient(cut, part) for part in split_tensor_dict(given, 4)]
    assert sum(part[0] for part in parts) / 4 == pytest.approx(loss, abs=1e-6)
    assert torch.allclose(sum(part[1] for part in parts) / 4, head, atol=1e-6) and head.any()


def test_advantages_are_those_of_whole_groups(policy_path: Path, tmp_path: Path) -> None:
    """Mini-batches of two samples cut groups of four in half; each sample keeps its advantage in its group."""
    from tests.rl.test_batch import real_inputs

    settings = GrpoSettings(group=4, prompts_per_step=1, minibatches=2, max_tokens=4, scale_rewards="none")
    trainer = make_trainer(policy_path, tmp_path, settings, real_inputs(policy_path))
    prompts = [{"prompt": str(i)} for i in (0, 0, 0, 0, 1, 1, 1, 1)]
    parts = [trainer._prepare_inputs(prompts)]
    trainer._step += 1
    parts.append(trainer._prepare_inputs(prompts))
    found = sorted(value for part in parts for value in part["advantages"].tolist())
    assert [len(part["advantages"]) for part in parts] == [4, 4] and found == [-0.5, -0.5, 0, 0, 0, 0, 0.5, 0.5]


@pytest.mark.parametrize("algorithm", ["grpo", "dapo"])
def test_accumulation_changes_nothing(algorithm: Any, policy_path: Path, tmp_path: Path) -> None:
    """Two steps in one backward pass each, or in four."""
    from models.checkpoint import load_model
    from rollout.hf_engine import HfEngine
    from tests.rl.test_grpo import run

    settings = {"algorithm": algorithm, "steps": 2, "prompts_per_step": 2, "group": 4, "max_tokens": 6}
    settings["share_prompts"] = False  # with a quarter of the batch there are none, and Adam blows rounding up
    for parts in (1, 4):
        run(policy_path, tmp_path / str(parts) / "out", HfEngine(policy_path), accumulate=parts, **settings)
    one, four = (load_model(tmp_path / name / "out").state_dict() for name in ("1", "4"))
    assert all(torch.allclose(one[name], four[name], atol=1e-4) for name in one)
    start = load_model(policy_path).state_dict()
    assert not torch.allclose(one["lm_head.weight"], start["lm_head.weight"], atol=1e-3)
