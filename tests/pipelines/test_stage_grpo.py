"""The `grpo` stage: a typed call in, a model folder, a log and numbers out. The engine is tests/rl's business."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.stage import StageError, known_stages
from pipelines.stages.grpo import GrpoConfig, grpo
from tests.pipelines.taught import context, problems, taught_model

pytestmark = pytest.mark.xdist_group("taught")

SMALL: dict[str, Any] = {
    "engine": "transformers",
    "steps": 2,
    "prompts_per_step": 2,
    "group": 4,
    "max_tokens": 12,
    "lr": 1e-4,
    "rewards": {"math": 1.0},
}


def test_the_stage_leaves_a_model_a_log_and_numbers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    ctx, model = context(tmp_path), taught_model(tmp_path_factory)
    made = grpo(ctx, GrpoConfig(**SMALL), model=model, problems=[problems(tmp_path / "problems")])
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in made.path.iterdir()}
    lines = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["accuracy"] > 0.5 and lines[0]["part/math"] == lines[0]["reward"]
    assert lines[0]["grading_errors"] == 0
    assert ctx.numbers["steps"] == 2 and ctx.numbers["canary_gap"] < 1e-4
    assert {type(value) for value in ctx.numbers.values()} <= {int, float}


def test_what_the_user_can_fix_is_one_line(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    model, rows = taught_model(tmp_path_factory), problems(tmp_path / "problems")
    for change, message in (
        ({"max_tokens": 400}, r"exceed the model's 64 positions: lower max_tokens to \d+"),
        ({"router": "aux(0.01)"}, r"computes no auxiliary loss"),
    ):
        with pytest.raises(StageError, match=message) as caught:
            grpo(context(tmp_path), GrpoConfig(**{**SMALL, **change}), model=model, problems=[rows])
        assert "\n" not in str(caught.value)


def test_the_stage_is_known_without_torch() -> None:
    assert known_stages()["grpo"].uses_rewards


def test_a_check_is_held_out_and_not_trained_on() -> None:
    with pytest.raises(ValueError, match="watch: grades the answers to held-out problems: set eval_every"):
        GrpoConfig(watch={"format": 1.0})
    with pytest.raises(ValueError, match="watch: format is trained on as well, so it is no check"):
        GrpoConfig(watch={"format": 1.0}, eval_every=5)
    with pytest.raises(ValueError, match="watch: preference is a learned reward"):
        GrpoConfig(watch={"preference": 1.0}, rewards={"judge": 1.0}, eval_every=5)
    duel = {"mode": "pair", "url": "http://127.0.0.1:9/v1", "model": "m"}
    for rewards in ({"math": 1.0}, {"judge": duel}):
        with pytest.raises(ValueError, match=r"watch: no learned reward .* nothing would be watched"):
            GrpoConfig(watch={"format": 1.0}, rewards=rewards, eval_every=5)
    for rewards in ({"preference": 1.0}, {"judge": {**duel, "against": "reference"}}):
        assert GrpoConfig(watch={"format": 1.0}, rewards=rewards, eval_every=5)


def test_names_of_rewards_are_names_of_rewards() -> None:
    with pytest.raises(ValueError, match=r"correct: mth is not among the rewards \(math, code, format\)"):
        GrpoConfig(correct=("mth",))
    with pytest.raises(ValueError, match="learned: preferance is not among the rewards"):
        GrpoConfig(learned=("preferance",))
