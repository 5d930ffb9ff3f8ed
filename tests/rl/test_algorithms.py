"""What `algorithm` sets, what overrides it, and which knobs are refused together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rl.algorithms import ALGORITHMS
from rl.config import GrpoSettings

GIVEN: dict[str, dict[str, Any]] = {"v3.2": {"off_policy_mask": 0.5}}  # the one knob without a published value


def test_grpo_is_what_no_algorithm_means() -> None:
    assert GrpoSettings() == GrpoSettings(algorithm="grpo")
    assert (GrpoSettings().epsilon, GrpoSettings().beta, GrpoSettings().ref_every) == (10.0, 0.001, 400)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_sets_defaults_and_the_user_overrides_them(name: str) -> None:
    made = GrpoSettings(algorithm=name, **GIVEN.get(name, {}))
    assert {knob: getattr(made, knob) for knob in ALGORITHMS[name]} == ALGORITHMS[name]
    assert GrpoSettings(**made.model_dump()) == made
    other = GrpoSettings(algorithm=name, beta=0.02, **GIVEN.get(name, {}))
    assert other.beta == 0.02 and other.loss == made.loss


def test_null_is_an_answer() -> None:
    assert GrpoSettings(algorithm="dapo", epsilon_high=None).upper == 0.2
    assert GrpoSettings(algorithm="v3.2", off_policy_mask=None).off_policy_mask is None


def test_v32_has_no_threshold_of_its_own() -> None:
    with pytest.raises(ValidationError, match=r"needs off_policy_mask: DeepSeek-V3.2 does not publish its threshold"):
        GrpoSettings(algorithm="v3.2")


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"loss": "cispo"}, "cispo has an upper clip only: set epsilon: null and epsilon_high, or use algorithm: cispo"),
    ({"epsilon": None}, "loss: grpo clips on both sides: set epsilon"),
    ({"algorithm": "cispo", "delta": 6.0}, "delta belongs to a clipped loss .*, not to loss: cispo: drop it"),
    ({"delta": 4.0}, "delta 4 lies inside the clip range 1 . 10: raise delta or lower epsilon"),
    ({"algorithm": "dapo", "level": "sequence"}, "level: sequence needs loss: grpo .* not dapo"),
    ({"loss": "luspo"}, "loss: luspo needs level: sequence"),
    ({"loss": "vespo", "correction": "sequence_mask"}, "loss: vespo takes correction: off, token_truncate"),
    ({"algorithm": "dapo", "ratio_weighted_kl": True}, "ratio_weighted_kl has no KL to weigh: set beta above 0"),
    ({"correction_floor": 0.5}, "correction_floor has no correction to bound: set correction"),
    ({"correction": "token_mask", "correction_floor": 3.0}, "correction_floor 3 is not below correction_cap 2"),
    (
        {"correction": "token_mask", "engine": "transformers", "temperature": 0.7},
        "correction compares with the engine's log-probs, .*: use temperature: 1, or engine: vllm and top_p: 1",
    ),
    ({"prompts_per_step": 1, "accumulate": 3}, r"accumulate 3 does not divide prompts_per_step x group = 16"),
]


@pytest.mark.parametrize(("settings", "message"), CONTRADICTIONS, ids=[message[:30] for _, message in CONTRADICTIONS])
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GrpoSettings(**settings)


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(ValidationError, match=r"delta 4 lies inside.*; correction_floor has no correction"):
        GrpoSettings(delta=4.0, correction_floor=0.5)


def test_the_command_line_refuses_with_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli import main

    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "name: x\n"
        "stages:\n"
        "  base: {use: model}\n"
        "  problems: {use: problems}\n"
        "  reason:\n"
        "    use: grpo\n"
        "    from: {model: base, problems: problems.train}\n"
        "    with: {algorithm: gspo, delta: 1.0001}\n"
    )
    with pytest.raises(SystemExit) as stopped:
        main(["plan", str(file), "--workdir", str(tmp_path / "runs")])
    assert stopped.value.code == 2
    out, err = capfd.readouterr()
    (line,) = [line for line in (out + err).splitlines() if "delta" in line]
    assert "pipeline.yaml:8: stages.reason.with: delta 1.0001 lies inside the clip range 1 + 0.0004" in line
    assert not (tmp_path / "runs").exists()


def test_dapo_adds_its_overlong_penalty_once() -> None:
    from pipelines.stages.grpo import GrpoConfig
    from rewards.length import length
    from rollout.types import Sample

    config = GrpoConfig(algorithm="dapo", max_tokens=100, rewards={"math": 1.0})
    penalty = dict(config.all_rewards()["length"])
    assert penalty.pop("weight") == 0.5 and penalty == {"max_tokens": 100, "slope_tokens": 20}
    assert [length(Sample("p", "c", n_tokens=n), **penalty) for n in (80, 90, 100)] == [0.0, -0.5, -1.0]
    assert GrpoConfig(rewards={"math": 1.0}).all_rewards() == {"math": 1.0}
    assert GrpoConfig(algorithm="dapo", overlong=None, rewards={"math": 1.0}).all_rewards() == {"math": 1.0}
    own = {"math": 1.0, "length": {"weight": 0.1, "max_tokens": 50}}
    assert GrpoConfig(algorithm="dapo", rewards=own).all_rewards() == own


def test_the_stage_grades_the_overlong_penalty(policy_path: Path, tmp_path: Path) -> None:
    """A random policy never stops: every completion is as long as it may be, and the log has the penalty."""
    import json

    from pipelines.artifacts import Model
    from pipelines.stages.grpo import GrpoConfig, grpo
    from tests.pipelines.taught import context, problems

    sizes = {"steps": 1, "prompts_per_step": 2, "group": 2, "max_tokens": 6, "engine": "transformers"}
    config = GrpoConfig(algorithm="dapo", refill=0, rewards={"math": 1.0}, **sizes)
    ctx = context(tmp_path)
    grpo(ctx, config, model=Model(policy_path), problems=[problems(tmp_path / "problems")])
    (line,) = [json.loads(text) for text in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert -1 <= line["part/length"] < 0 and line["reward"] == pytest.approx(0.5 * line["part/length"])
