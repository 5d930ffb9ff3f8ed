"""Dynamic sampling: flat groups make room for others, and what stays flat costs no forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rl.batch import Group, draw_groups
from rl.config import GrpoSettings
from rl.schedule import Schedule
from rollout.types import Sample, Scored
from tests.rl.trainers import make_trainer

CORRECT = ("math",)
ROWS = [{"id": str(i), "prompt": f"Count to {i}", "answer": str(i), "family": "math"} for i in range(8)]


def group(row: int, verdicts: Sequence[float | None], total: Sequence[float | None] | None = None) -> Group:
    return Group(row, (), (), verdicts if total is None else total, {"math": verdicts})


def test_what_is_flat() -> None:
    assert group(0, [1.0, 1.0]).is_flat(CORRECT) and group(0, [0.0, 0.0]).is_flat(CORRECT)
    assert not group(0, [1.0, 0.0]).is_flat(CORRECT)
    assert not group(0, [1.0, None, 0.0]).is_flat(CORRECT)
    # All right, though one of them is better formatted: DAPO's rule asks for right and wrong.
    assert group(0, [1.0, 1.0], [1.1, 1.0]).is_flat(CORRECT)
    # No verdict applies (a chat): the scores decide.
    assert not group(0, [None, None], [0.3, 0.7]).is_flat(CORRECT)
    assert group(0, [None, None], [0.3, 0.3]).is_flat(CORRECT) and group(0, [None, None]).is_flat(CORRECT)


class Pool:
    """Draws groups; rows in `mixed` have right and wrong samples, the others are flat."""

    def __init__(self, mixed: set[int]) -> None:
        self.mixed, self.asked = mixed, []  # type: ignore[var-annotated]

    def __call__(self, rows: Sequence[int], attempt: int) -> list[Group]:
        self.asked.append((list(rows), attempt))
        return [group(row, [1.0, 0.0] if row in self.mixed else [0.0, 0.0]) for row in rows]


def test_refill_replaces_only_the_flat_groups_in_their_places() -> None:
    pool = Pool({1, 5, 6})
    groups, given_up = draw_groups([0, 1, 2], iter([4, 5, 6, 7]), pool, 9, CORRECT)
    assert [g.row for g in groups] == [6, 1, 5]
    assert pool.asked == [([0, 1, 2], 0), ([4, 5], 1), ([6], 2)]
    assert [g.row for g in given_up] == [0, 2, 4]


def test_refill_stops_when_told_and_when_nothing_is_left() -> None:
    pool = Pool(set())
    assert [g.row for g in draw_groups([0, 1], iter([2, 3, 4, 5, 6]), pool, 1, CORRECT)[0]] == [2, 3]
    assert [g.row for g in draw_groups([0, 1], iter([2]), pool, 9, CORRECT)[0]] == [2, 1]
    pool = Pool(set())
    assert [g.row for g in draw_groups([0, 1], iter([2, 3]), pool, 0, CORRECT)[0]] == [0, 1]
    assert pool.asked == [([0, 1], 0)]


def even_rows_vary(samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
    """Of an even row every other sample is right, of an odd one none is."""
    total = [[float(i % 2 == 0 and int(s.row["id"]) % 2 == 0) for i, s in enumerate(g)] for g in samples_P_G]
    return Scored(total, {"math": total}, errors=0)  # type: ignore[arg-type]


def real_inputs(path: Path) -> Any:
    """A real engine (transformers) and canary around the tiny policy."""
    from models.chat import render_prompt
    from models.checkpoint import load_tokenizer
    from rl.trainer import Inputs
    from rollout.canary import Canary
    from rollout.hf_engine import HfEngine

    tokenizer = load_tokenizer(path)
    prompts = [render_prompt(tokenizer, row, "plain") for row in ROWS]
    return Inputs(
        ROWS,
        prompts,
        HfEngine(path),
        Canary(len(tokenizer), sequences=1, length=8),
        even_rows_vary,
        Schedule(ROWS, GrpoSettings(), 0),
    )


def test_a_refilled_batch_trains_on_the_new_problems(policy_path: Path, tmp_path: Path) -> None:
    """Prompts, scores and advantages belong together; accuracy counts what was drawn, not what was kept."""
    settings = GrpoSettings(algorithm="dapo", group=2, prompts_per_step=4, max_tokens=4)
    inputs = real_inputs(policy_path)
    trainer = make_trainer(policy_path, tmp_path, settings, inputs)
    output = trainer._generate_and_score_completions([{"prompt": str(i)} for i in (0, 0, 1, 1, 2, 2, 3, 3)])
    assert output["advantages"].sign().tolist() == [1, -1] * 4
    pairs = zip(output["prompt_ids"].tolist(), output["prompt_mask"].tolist(), strict=True)
    prompts = [[token for token, kept in zip(ids, mask, strict=True) if kept] for ids, mask in pairs]
    rows = [inputs.prompts_ids.index(ids) for ids in prompts]
    assert rows[::2] == rows[1::2] and rows[0] == 0 and rows[4] == 2 and sorted(rows[::2]) == [0, 2, 4, 6]
    numbers = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    dropped = round(numbers["refilled"] * 4)
    assert dropped >= 2 and numbers["zero_variance"] == 0
    assert numbers["accuracy"] == pytest.approx(4 / (8 + 2 * dropped)) and numbers["reward"] == 0.5


def gradient(trainer: Any, batch: dict[str, Any]) -> tuple[float, Any, int]:
    """(loss, gradient of the head, rows that went through the model)."""
    rows: list[int] = []
    hook = trainer.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    hook.remove()
    return loss.item(), trainer.model.lm_head.weight.grad.clone(), sum(rows)


@pytest.mark.parametrize("algorithm", ["dr_grpo", "dapo", "gspo", "cispo"])
def test_flat_groups_are_not_run_and_change_nothing(
    algorithm: Any, policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    settings = GrpoSettings(algorithm=algorithm, group=2, prompts_per_step=4, max_tokens=6, refill=0, minibatches=2)
    trainer = make_trainer(policy_path, tmp_path, settings, real_inputs(policy_path))
    output = trainer._generate_and_score_completions([{"prompt": str(i)} for i in (0, 0, 1, 1, 2, 2, 3, 3)])
    assert output["advantages"].ne(0).tolist() == [True, True, False, False] * 2
    assert output["old_per_token_logps"].any(dim=1).tolist() == [True, True, False, False] * 2
    loss, head, rows = gradient(trainer, output)
    monkeypatch.setattr(GrpoSettings, "skips_flat_groups", False)
    whole_loss, whole_head, whole_rows = gradient(trainer, output)
    assert (rows, whole_rows) == (2 + 4, 4 + 8)  # prompts, each once, and samples
    assert loss == pytest.approx(whole_loss, abs=1e-6) and torch.allclose(head, whole_head, atol=1e-6)


def test_a_batch_of_flat_groups_is_a_step_of_nothing(policy_path: Path, tmp_path: Path) -> None:
    settings = GrpoSettings(algorithm="dr_grpo", group=2, prompts_per_step=2, max_tokens=4)
    trainer = make_trainer(policy_path, tmp_path, settings, real_inputs(policy_path))
    output = trainer._generate_and_score_completions([{"prompt": str(i)} for i in (1, 1, 3, 3)])
    loss, head, rows = gradient(trainer, output)
    assert loss == 0 and not head.any() and rows == 1
    trainer.log({"loss": loss})
    assert "ratio/mean" not in trainer.state.log_history[-1] and trainer.state.log_history[-1]["entropy"] is None


@pytest.mark.parametrize(
    "settings",
    [{"beta": 0.001}, {"entropy_coef": 0.01}, {"loss": "bnpo"}, {"router": "bias_update(0.01)"}],
)
def test_every_sample_is_run_where_it_still_counts(settings: dict[str, Any]) -> None:
    assert GrpoSettings(beta=0.0).skips_flat_groups
    assert not GrpoSettings(**{"beta": 0.0, **settings}).skips_flat_groups
