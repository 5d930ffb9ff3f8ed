"""Log-probs by token budget: same numbers as the plain way, without ever holding all logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl.config import GrpoSettings
from tests.rl.trainers import make_trainer


def test_budgeted_logprobs_agree_with_plain_ones(policy_path: Path, tmp_path: Path) -> None:
    """Packing, sorting and cutting by token budget change neither values nor gradients; masked rows give zeros."""
    import torch

    from rl.logprobs import completion_logprobs
    from rollout.forward import model_logprobs

    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, 200, (n,), generator=generator).tolist() for n in (2, 9, 5, 7, 1)]
    completions = [torch.randint(5, 200, (n,), generator=generator).tolist() for n in (12, 1, 6, 3, 0)]
    pairs = list(zip(prompts, completions, strict=True))
    ids = torch.tensor([[0] * (9 - len(p)) + p + c + [0] * (12 - len(c)) for p, c in pairs])
    mask = torch.tensor([[0] * (9 - len(p)) + [1] * len(p + c) + [0] * (12 - len(c)) for p, c in pairs])
    expected = model_logprobs(trainer.model, [p + c for p, c in pairs])
    gradients = []
    for budget in (1, 30, 10_000):
        logps, entropy, _ = completion_logprobs(trainer.model, ids, mask, 12, batch_tokens=budget, entropy=True)
        for i, (p, c) in enumerate(pairs):
            assert logps[i, : len(c)].tolist() == pytest.approx(expected[i][len(p) - 1 :][: len(c)], abs=1e-5)
            assert not logps[i, len(c) :].any() and not entropy[i, len(c) :].any()
        trainer.model.zero_grad()
        logps.sum().backward()
        gradients.append(trainer.model.lm_head.weight.grad.clone())
    assert all(torch.allclose(gradients[0], other, atol=1e-4) for other in gradients)
