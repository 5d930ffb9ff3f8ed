"""The loss that the trainer really computes, against a calculation from the paper's formula in plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoSettings

PROMPTS = [[5, 6, 7], [8, 9, 10, 11]]
COMPLETIONS = [[20, 21, 22, 23], [30, 31]]
OLD_SHIFT = [[0.0, 0.5, -0.5, 0.1], [0.4, -0.4]]  # trainer minus old log-prob: ratio = exp of it
REF_SHIFT = [[0.3, 0.0, -0.2, 0.1], [0.0, 0.7]]  # reference minus trainer
ADVANTAGES = [1.0, -2.0]


def make_trainer(path: Path, scratch: Path, settings: GrpoSettings) -> Any:
    from datasets import Dataset

    from models.checkpoint import load_model, load_tokenizer
    from rl.grpo import _arguments
    from rl.trainer import Inputs, Trainer

    unused: Any = None
    return Trainer(
        settings=settings,
        inputs=Inputs([], [], unused, unused, unused),
        reference=load_model(path) if settings.beta else None,
        model=load_model(path),
        args=_arguments(settings, scratch, 0),
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        processing_class=load_tokenizer(path),
    )


def batch(logprobs: list[list[float]]) -> dict[str, Any]:
    """Tensors as TRL hands them to its loss: prompts padded on the left, completions on the right."""
    import torch

    def right(rows: list[list[float]], fill: float = 0.0) -> Any:
        return torch.tensor([row + [fill] * (4 - len(row)) for row in rows])

    def shifted(shift: list[list[float]], sign: float) -> list[list[float]]:
        return [[a + sign * b for a, b in zip(x, y, strict=True)] for x, y in zip(logprobs, shift, strict=True)]

    return {
        "prompt_ids": torch.tensor([[0] * (4 - len(p)) + p for p in PROMPTS]),
        "prompt_mask": torch.tensor([[0] * (4 - len(p)) + [1] * len(p) for p in PROMPTS]),
        "completion_ids": right([[float(t) for t in c] for c in COMPLETIONS]).long(),
        "completion_mask": right([[1.0] * len(c) for c in COMPLETIONS]).long(),
        "advantages": torch.tensor(ADVANTAGES),
        "num_items_in_batch": torch.tensor(6.0),
        "old_per_token_logps": right(shifted(OLD_SHIFT, -1.0)),
        "ref_per_token_logps": right(shifted(REF_SHIFT, 1.0)),
    }


def by_hand(loss: str, beta: float, low: float, high: float) -> tuple[float, float]:
    """(loss, share of clipped tokens) from DeepSeekMath eq. 3-4 and the papers of the variants."""
    per_sequence, clipped = [], 0
    for advantage, old, ref in zip(ADVANTAGES, OLD_SHIFT, REF_SHIFT, strict=True):
        terms = []
        for shift, ref_shift in zip(old, ref, strict=True):
            ratio = math.exp(shift)
            surrogate = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
            clipped += (ratio > 1 + high and advantage > 0) or (ratio < 1 - low and advantage < 0)
            k3 = math.exp(ref_shift) - ref_shift - 1
            terms.append(-surrogate + beta * k3)
        per_sequence.append(terms)
    tokens = sum(sum(terms) for terms in per_sequence)
    means = {
        "grpo": sum(sum(terms) / len(terms) for terms in per_sequence) / 2,
        "dapo": tokens / 6,
        "dr_grpo": tokens / (2 * 4),
    }
    return means[loss], clipped / 6


@pytest.mark.parametrize(("loss", "beta", "high"), [("grpo", 0.1, 0.2), ("dapo", 0.0, 0.28), ("dr_grpo", 0.0, 0.2)])
def test_loss_by_hand(policy_path: Path, tmp_path: Path, loss: Any, beta: float, high: float) -> None:
    from rollout.forward import model_logprobs

    settings = GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, loss=loss, beta=beta, epsilon_high=high)
    trainer = make_trainer(policy_path, tmp_path, settings)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    forced = model_logprobs(trainer.model, [p + c for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    inputs = batch([values[len(p) - 1 :] for values, p in zip(forced, PROMPTS, strict=True)])
    expected, clipped = by_hand(loss, beta, 0.2, high)
    assert trainer._compute_loss(trainer.model, inputs).item() == pytest.approx(expected, abs=1e-5)
    assert trainer._metrics["train"]["clip_ratio/region_mean"] == pytest.approx([clipped])


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
