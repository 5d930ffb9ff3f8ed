"""The reward `preference`: which model judges what, what is no answer, and what a pipeline file must name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines import config
from pipelines.artifacts import RewardModel
from pipelines.grading import make_scorer
from pipelines.source import ConfigError
from pipelines.stage import StageError
from rollout.reward_info import RewardModelInfo
from rollout.types import Sample, Scored
from tests.pipelines.taught import PROBLEMS, context, problems, taught_model
from tests.sft.preferences import PAIRS, answer, write_base, write_reward_model

pytestmark = pytest.mark.xdist_group("taught")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RewardModel]:
    base = write_base(tmp_path_factory.mktemp("base"))
    helpful = write_reward_model(base, tmp_path_factory.mktemp("helpful"), seed=1)
    safety = write_reward_model(base, tmp_path_factory.mktemp("safety"), judges="whole", seed=2)
    return {"helpful": RewardModel(helpful), "safety": RewardModel(safety)}


def asked(judge: str | None, *completions: str, finish: Any = "stop", gold: str | None = None) -> list[Sample]:
    row = {"id": "x", "prompt": PAIRS[0]["prompt"], "system": None, "judge": judge, "answer": gold}
    return [Sample(row["prompt"] or "", text, gold, finish, len(text), row) for text in completions]


def grade(folder: Path, groups: list[list[Sample]], rewards: dict[str, Any], **models: RewardModel) -> Scored:
    rows = [sample.row for group in groups for sample in group]
    with make_scorer(context(folder), rewards, **models, rows=rows) as scorer:
        return scorer(groups)


def alone(model: RewardModel, text: str) -> float:
    """The score of a judged text, computed without any of the code under test but the rendering."""
    import torch

    from models.chat import render_judged
    from models.checkpoint import load_tokenizer
    from models.scalar import load_scalar_model

    scalar, tokenizer = load_scalar_model(model.path, device="cpu").eval(), load_tokenizer(model.path)
    with torch.no_grad():
        return float(scalar(input_ids=torch.tensor([render_judged(tokenizer, PAIRS[0], text)])).logits)


def test_without_preference_it_is_the_plain_scorer(tmp_path: Path) -> None:
    from rewards.scorer import Scorer

    with make_scorer(context(tmp_path), {"format": 1.0}) as scorer:
        assert type(scorer) is Scorer


def test_each_prompt_meets_its_own_model_and_rules_are_added(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    kind, curt = answer("Gladly: Ada is at home."), answer("No.")
    groups = [asked("helpful", kind, curt), asked("safety", kind, curt), asked(None, answer("4"), gold="4")]
    scored = grade(tmp_path, groups, {"preference": 0.5, "format": 1.0, "math": 1.0}, **models)
    helpful = [alone(models["helpful"], text) for text in ("Gladly: Ada is at home.", "No.")]
    safety = [alone(models["safety"], text) for text in (kind, curt)]  # thinking included
    parts = scored.parts_P_G["preference"]
    assert parts[0] == pytest.approx(helpful, abs=1e-5) and parts[1] == pytest.approx(safety, abs=1e-5)
    assert parts[2] == [None] and scored.total_P_G[2] == [2.0] and scored.errors == 0
    assert scored.total_P_G[0] == pytest.approx([0.5 * score + 1.0 for score in helpful], abs=1e-5)


def test_no_answer_is_never_better_than_the_worst_answer(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    good = [answer("Gladly: Ada is at home."), answer("No.")]
    broken = ["", "Gladly: Ada is at home.", "<think>hm</think>", answer(""), answer("Yes.") + answer("Yes.")]
    cut = asked("helpful", answer("Gladly: Ada is at home."), finish="length")
    scores = grade(
        tmp_path, [asked("helpful", *good, *broken) + cut, cut], {"preference": 1.0}, helpful=models["helpful"]
    ).parts_P_G["preference"]
    judged, others = scores[0][:2], [*scores[0][2:], *scores[1]]
    lowest = RewardModelInfo.read(models["helpful"].path).lowest
    assert lowest < min(judged) and others == [lowest] * 7  # the floor that was measured when it was trained


def test_a_group_can_lower_the_floor(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    base = models["helpful"].path
    high = tmp_path / "high"
    high.mkdir()
    for file in base.iterdir():
        (high / file.name).write_bytes(file.read_bytes())
    told = json.loads((high / "reward_model.json").read_text())
    (high / "reward_model.json").write_text(json.dumps({**told, "lowest": 99.0}))
    groups = [asked("helpful", answer("No."), answer("Yes."), "")]
    scores = grade(tmp_path, groups, {"preference": 1.0}, helpful=RewardModel(high)).parts_P_G["preference"][0]
    assert scores[2] == min(scores[:2])


def test_whole_judges_what_is_out_of_shape_but_not_what_was_cut_off(
    tmp_path: Path, models: dict[str, RewardModel]
) -> None:
    text = "How to do harm: hm."
    groups = [asked("safety", text), asked("safety", text, finish="length")]
    scores = grade(tmp_path, groups, {"preference": 1.0}, safety=models["safety"]).parts_P_G["preference"]
    assert scores[0] == pytest.approx([alone(models["safety"], text)], abs=1e-5) and scores[1] == [-50.0]


def test_a_text_longer_than_the_model_can_read_gets_the_floor(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    groups = [asked("helpful", answer("No."), answer("Ada " * 600))]
    scores = grade(tmp_path, groups, {"preference": 1.0}, helpful=models["helpful"]).parts_P_G["preference"][0]
    assert scores[1] == -50.0 < scores[0]


def test_scores_are_clipped_then_squashed(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    raw = alone(models["helpful"], "No.")
    bound = abs(raw) / 2
    groups = [asked("helpful", answer("No."))]
    reward = {"preference": {"weight": 1.0, "clip": bound, "squash": "sigmoid"}}
    scored = grade(tmp_path, groups, reward, helpful=models["helpful"])
    assert scored.total_P_G == [[pytest.approx(1 / (1 + math.exp(-math.copysign(bound, raw))), abs=1e-5)]]


def test_a_score_that_came_with_the_data_counts_for_nothing(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    (sample,) = asked(None, answer("4"))
    planted = Sample(sample.prompt, sample.completion, None, "stop", 1, {**sample.row, "preference_score": 99.0})
    assert grade(tmp_path, [[planted]], {"preference": 1.0}, helpful=models["helpful"]).total_P_G == [[None]]


def test_what_does_not_fit_is_one_line_before_the_work(tmp_path: Path, models: dict[str, RewardModel]) -> None:
    helpful, none = models["helpful"], RewardModel(tmp_path)
    for rewards, given, judge, told in (
        ({"preference": 1.0}, {}, "helpful", "needs a reward model"),
        ({"format": 1.0}, {"helpful": helpful}, "helpful", "input `helpful` is not used"),
        ({"preference": 1.0}, {"helpful": helpful}, "safety", "judge 'safety' has no reward model here"),
        ({"preference": 1.0}, {"helpful": helpful}, "helpfull", "is none of helpful, safety"),
        ({"preference": 1.0}, {"helpful": none}, "helpful", "not a reward model's description"),
    ):
        with pytest.raises(StageError, match=told) as caught:
            grade(tmp_path, [asked(judge, answer("No."))], rewards, **given)
        assert "\n" not in str(caught.value)


FILE = """\
stages:
  base: {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {source: arithmetic}}
  rm: {use: reward-model, from: {model: base, preferences: ./pairs}}
"""


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("with: {rewards: {preference: 1.0}}}", "reward `preference` needs a reward model: add `from: {helpful: ...}`"),
        ("with: {rewards: {math: 1.0}}, HELPFUL}", "input `helpful` is not used: add `preference` to the rewards"),
        ("with: {rewards: {preference: {squash: tanh}}}, HELPFUL}", "squash must be"),
    ],
)
def test_a_pipeline_file_names_reward_and_model_together(tmp_path: Path, stage: str, told: str) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/rows.parquet").touch()
    edges = "from: {model: base, problems: problems.train"
    text = "  rl: {use: grpo, " + (
        stage.replace("HELPFUL", edges + ", helpful: rm}") if "HELPFUL" in stage else f"{edges}}}, {stage}"
    )
    (tmp_path / "p.yaml").write_text(FILE + text + "\n")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "p.yaml")
    assert len(caught.value.lines) == 1 and "p.yaml:5: stages.rl" in caught.value.lines[0]
    assert told in caught.value.lines[0]


def test_stages_train_on_it_and_measure_it(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`reward-model` makes one, `grpo` trains against it, `eval` and `sample` grade with it."""
    from pipelines.artifacts import Preferences, Problems, read_rows, write_rows
    from pipelines.stages.eval import EvalConfig, eval
    from pipelines.stages.grpo import GrpoConfig, grpo
    from pipelines.stages.reward_model import RewardModelConfig, reward_model
    from pipelines.stages.sample import SampleConfig, sample

    model, rules = taught_model(tmp_path_factory), problems(tmp_path / "rules")
    pairs, chat = Preferences(tmp_path / "pairs"), Problems(tmp_path / "chat")
    write_rows(pairs, [{**row, "chosen": answer("6"), "rejected": answer("Half")} for row in PROBLEMS * 4])
    write_rows(chat, [{**row, "answer": None, "judge": "helpful"} for row in PROBLEMS])
    settings = RewardModelConfig(batch=4, lr=1e-3, epochs=2, holdout=0.0, save_every=0, log_every=1)
    ctx = context(tmp_path / "rm")
    helpful = reward_model(ctx, settings, model=model, preferences=[pairs])
    assert ctx.numbers["kind"] == "pairs" and ctx.numbers["steps"] == 4 and "held_out/accuracy" not in ctx.numbers
    shared: dict[str, Any] = {"engine": "transformers", "max_tokens": 24}
    rewards = {"preference": 1.0, "math": 1.0}
    ctx = context(tmp_path / "rl")
    knobs = GrpoConfig(**shared, rewards=rewards, steps=2, prompts_per_step=2, group=4, lr=1e-4)
    grpo(ctx, knobs, model=model, problems=[rules, chat], helpful=helpful)
    lines = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert any("part/preference" in line for line in lines) and all(line["grading_errors"] == 0 for line in lines)
    ctx = context(tmp_path / "eval")
    eval(ctx, EvalConfig(**shared, rewards=rewards, k=2), models={"m": model}, problems=[chat], helpful=helpful)
    graded = read_rows(ctx.out / "samples.parquet")
    assert graded[0]["rewards"]["preference"] == pytest.approx(graded[0]["reward"])
    made = sample(
        context(tmp_path / "sample"), SampleConfig(**shared, rewards=rewards, n=1, keep="all", max_repetition=1),
        model=model, problems=chat, helpful=helpful,
    )  # fmt: skip
    assert all(row["rewards"]["preference"] is not None for row in read_rows(made))


def test_what_could_not_be_graded_outlives_a_failed_stage(tmp_path: Path) -> None:
    from pipelines.context import Context
    from pipelines.grading import quarantine_of

    for folder in ("out", "scratch"):
        (tmp_path / folder).mkdir()
    ctx = Context(tmp_path / "out", 0, tmp_path / "scratch")
    with pytest.raises(StageError), quarantine_of(ctx) as file:
        file.write_text("one\n")
        raise StageError("too many")
    assert (tmp_path / "scratch/quarantine.jsonl").read_text() == "one\n" and not any((tmp_path / "out").iterdir())
    for text in ("two\n", "three\n"):
        with quarantine_of(ctx) as file:
            file.write_text(text)
    assert (tmp_path / "out/quarantine.jsonl").read_text() == "two\nthree\n" and not file.exists()
