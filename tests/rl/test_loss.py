"""The loss that the trainer really computes, and its gradient, against numbers worked out by hand.

Two sequences, B = 2, at most 4 tokens each, with r = pi / pi_old and x = pi_ref / pi for each token:

    1: A = +1, |o| = 3, r = 1, 8, 1/2,  x = 1, 2, 1,  log pi = -1 for each token
    2: A = -2, |o| = 2, r = 4, 1/4,     x = 1, 1,     log pi = -2 for each token

k3(x) = x - ln x - 1 is 0 for x = 1 and 1 - ln 2 = 0.3068528 for x = 2; its derivative by log pi is 1 - x.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoSettings
from tests.rl.trainers import make_trainer

RATIOS = [[1.0, 8.0, 0.5], [4.0, 0.25]]
REFERENCE = [[1.0, 2.0, 1.0], [1.0, 1.0]]
LOG_PI = [[-1.0, -1.0, -1.0], [-2.0, -2.0]]
ADVANTAGES = [1.0, -2.0]
K3 = 1 - math.log(2)

# settings -> (loss, its gradient by log pi, share of clipped tokens or sequences)
BY_HAND: dict[str, tuple[dict[str, Any], float, list[list[float]], float]] = {
    # Clip range -9 to 11: nothing is clipped. Mean over tokens, then over sequences:
    # -(9.5/3 - 2 x 4.25/2) / 2 = 13/24; KL 0.001 x k3(2) / 3 / 2. Gradient: -r A / (|o| B), KL 0.001 x (1 - 2) / 6.
    "grpo": (
        {},
        13 / 24 + 0.001 * K3 / 6,
        [[-1 / 6, -8 / 6 - 0.001 / 6, -0.5 / 6], [8 / 4, 0.5 / 4]],
        0.0,
    ),
    # Clip range 0.8 to 1.2: min(8, 1.2) = 1.2; min(-8, -2.4) = -8; min(-0.5, -1.6) = -1.6.
    # Divided by B x max_tokens = 8: -(1 + 1.2 + 0.5 - 8 - 1.6) / 8. A clipped token has no gradient.
    "dr_grpo": ({}, 6.9 / 8, [[-1 / 8, 0, -0.5 / 8], [8 / 8, 0]], 2 / 5),
    # Clip range 0.8 to 1.28, mean over the 5 tokens: -(1 + 1.28 + 0.5 - 8 - 1.6) / 5.
    "dapo": ({}, 6.82 / 5, [[-1 / 5, 0, -0.5 / 5], [8 / 5, 0]], 2 / 5),
    # s = (1 x 8 x 1/2)^(1/3) = 1.587, clipped to 1.0004; s = (4 x 1/4)^(1/2) = 1: -(1.0004 - 2) / 2.
    # d s / d log pi = s / |o| = 1/2, so the gradient of the second is 2 x 1/2 / 2 for each token.
    "gspo": ({}, 0.9996 / 2, [[0, 0, 0], [0.5, 0.5]], 1 / 2),
    # Weights min(r, 5) = 1, 5, 1/2 and 4, 1/4: -(6.5 x 1 x -1 + 4.25 x -2 x -2) / 5. Gradient -w A / 5: the clipped
    # token keeps its own.
    "cispo": ({}, -10.5 / 5, [[-1 / 5, -5 / 5, -0.5 / 5], [8 / 5, 0.5 / 5]], 1 / 5),
    # Clip range 0.8 to 1.2, mean over tokens, then over sequences: -((1 + 1.2 + 0.5)/3 + (-8 - 1.6)/2) / 2 = 1.95.
    # KL weighted by r = 8: 0.001 x 8 k3(2) / 6, its gradient 0.001 x (8 k3(2) + 8 (1 - 2)) / 6.
    "v3.2": (
        {"off_policy_mask": 0.5},
        1.95 + 0.008 * K3 / 6,
        [[-1 / 6, 0.008 * (K3 - 1) / 6, -0.5 / 6], [8 / 4, 0]],
        2 / 5,
    ),
}


def padded(rows: list[list[float]]) -> Any:
    import torch

    return torch.tensor([row + [0.0] * (3 - len(row)) for row in rows])


def inputs(**changed: Any) -> dict[str, Any]:
    """The batch as TRL hands it to its loss."""
    import torch

    log_pi = padded(LOG_PI)
    old = log_pi - padded(RATIOS).clamp(min=1e-9).log()
    return {
        "prompt_ids": torch.ones(2, 1, dtype=torch.long),
        "prompt_mask": torch.ones(2, 1, dtype=torch.long),
        "completion_ids": torch.ones(2, 3, dtype=torch.long),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "advantages": torch.tensor(ADVANTAGES),
        "num_items_in_batch": torch.tensor(5.0),
        "old_per_token_logps": old,
        "sampling_per_token_logps": old,
        "ref_per_token_logps": log_pi + padded(REFERENCE).clamp(min=1e-9).log(),
        **changed,
    }


@pytest.fixture
def loss_of(policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(algorithm, settings, batch) -> (loss, gradient by log pi, numbers), where log pi is LOG_PI."""
    import torch

    def run(
        algorithm: Any, settings: dict[str, Any], given: dict[str, Any]
    ) -> tuple[float, Any, dict[str, list[float]]]:
        config = GrpoSettings(algorithm=algorithm, group=2, prompts_per_step=1, max_tokens=4, **settings)
        trainer = make_trainer(policy_path, tmp_path, config)
        log_pi = padded(LOG_PI).requires_grad_()
        monkeypatch.setattr("rl.trainer.completion_logprobs", lambda *_, **__: (log_pi, torch.ones(2, 3), None))
        loss = trainer._compute_loss(trainer.model, given)
        (gradient,) = torch.autograd.grad(loss, log_pi)
        return loss.item(), gradient, trainer._metrics["train"]

    return run


@pytest.mark.parametrize("algorithm", BY_HAND)
def test_loss_and_gradient_by_hand(algorithm: str, loss_of: Any) -> None:
    settings, expected, expected_gradient, clipped = BY_HAND[algorithm]
    loss, gradient, numbers = loss_of(algorithm, settings, inputs())
    assert loss == pytest.approx(expected, abs=1e-6)
    for found, wanted in zip(gradient.tolist(), expected_gradient, strict=True):
        assert found[: len(wanted)] == pytest.approx(wanted, abs=1e-6)
        assert not any(found[len(wanted) :])
    name = "cispo_clip_ratio" if algorithm == "cispo" else "clip_ratio/region_mean"
    assert numbers[name] == pytest.approx([clipped])
    assert numbers["ratio/mean"] == pytest.approx([13.75 / 5]) and numbers["ratio/max"] == pytest.approx([8.0])


def test_every_algorithm_is_worked_out() -> None:
    from typing import get_args

    from rl.algorithms import ALGORITHMS, Algorithm

    assert set(BY_HAND) == set(ALGORITHMS) == set(get_args(Algorithm))


def test_the_off_policy_mask_drops_a_negative_sequence_only(loss_of: Any) -> None:
    """Engine 0.6 nats above the policy on each token: sequence 2 (A < 0) falls out at 0.5, sequence 1 stays."""
    moved = {"sampling_per_token_logps": padded(LOG_PI) + 0.6}
    loss, gradient, numbers = loss_of(
        "v3.2", {"off_policy_mask": 0.5, "beta": 0.0, "ratio_weighted_kl": False}, inputs(**moved)
    )
    assert loss == pytest.approx(-0.45, abs=1e-6)  # -(1 + 1.2 + 0.5) / 3 / 2
    assert not gradient[1].any() and gradient[0].any() and numbers["off_policy_masked"] == [0.5]
    loss, _, numbers = loss_of("v3.2", {"off_policy_mask": 0.7}, inputs(**moved))
    assert loss == pytest.approx(1.95 + 0.008 * K3 / 6, abs=1e-6) and numbers["off_policy_masked"] == [0.0]


def test_two_sided_clip_by_hand(loss_of: Any) -> None:
    """INTELLECT-2's delta caps the ratio for A < 0, too: -8 becomes 2 x -2 = -4: -(2.78 - 4 - 1.6) / 5."""
    loss, gradient, _ = loss_of("dapo", {"delta": 2.0}, inputs())
    assert loss == pytest.approx(2.82 / 5, abs=1e-6)
    assert gradient[1].tolist() == pytest.approx([0, 0, 0])


def test_the_correction_weighs_each_token(loss_of: Any) -> None:
    """Truncated importance sampling, weights 1, 1, 2 and 1/2, 1 on DAPO's terms: -(1 + 1.28 + 1 - 4 - 1.6) / 5."""
    weights = {"importance_sampling_ratio": padded([[1.0, 1.0, 2.0], [0.5, 1.0]])}
    loss, gradient, _ = loss_of("dapo", {"correction": "token_truncate"}, inputs(**weights))
    assert loss == pytest.approx(2.32 / 5, abs=1e-6)
    assert gradient[0].tolist() == pytest.approx([-1 / 5, 0, -1 / 5])


def test_the_gap_to_the_engine_is_measured_against_the_old_policy(loss_of: Any) -> None:
    """pi_old - mu: 0.25 nats on one of five tokens, and a token that the engine did not score."""
    old = inputs()["old_per_token_logps"]
    engine = old.clone()
    engine[0, 1] -= 0.25
    engine[1, 1] = float("nan")
    numbers = loss_of("dapo", {}, inputs(sampling_per_token_logps=engine))[2]
    assert numbers["mismatch/max"] == pytest.approx([0.25]) and numbers["mismatch/mean"] == pytest.approx([0.25 / 4])


@pytest.mark.parametrize(("algorithm", "settings"), [(name, entry[0]) for name, entry in BY_HAND.items()])
def test_one_step_on_policy_is_the_policy_gradient(algorithm: str, settings: dict[str, Any], loss_of: Any) -> None:
    """With pi = pi_old = mu no clip, weight or mask acts: the algorithms differ in the mean over tokens alone."""
    log_pi = padded(LOG_PI)
    same = {"old_per_token_logps": log_pi, "sampling_per_token_logps": log_pi, "ref_per_token_logps": log_pi}
    gradient = loss_of(algorithm, settings, inputs(**same))[1]
    per_token = {"dr_grpo": (8, 8), "dapo": (5, 5), "cispo": (5, 5)}.get(algorithm, (2 * 3, 2 * 2))
    assert gradient[0].tolist() == pytest.approx([-1 / per_token[0]] * 3)
    assert gradient[1, :2].tolist() == pytest.approx([2 / per_token[1]] * 2)
