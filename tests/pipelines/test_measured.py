"""What `r1 plan` says of a stage's time, from the runs that are in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import config, plan
from pipelines.measured import History
from pipelines.run_folder import RunFolder
from pipelines.store import Store
from pipelines.work import Outlook, Work

RECIPE = """\
name: t
stages:
  base:     {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {n: 100, dev: 10, holdout: 20, cold_start: 60, general: 8}}
  cold:     {use: sft, from: {model: base, samples: problems.cold_start}, with: {epochs: 2, batch: 4, max_length: 256}}
  reason:
    use: grpo
    from: {model: cold, problems: problems.train}
    with: {steps: 8, prompts_per_step: 4, group: 8, max_tokens: 96, minibatches: 2}
  harvest:  {use: sample, from: {model: reason, problems: problems.train}, with: {n: 2, limit: 50, max_tokens: 96}}
  final:    {use: sft, from: {model: base, samples: [harvest, problems.general]}, with: {epochs: 1, batch: 8}}
  scores:   {use: eval, from: {models: [base, cold, reason, final], problems: problems.holdout}, with: {k: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.yaml").write_text(RECIPE)
    return tmp_path


def rows(folder: Path, *overrides: str) -> dict[str, plan.Row]:
    pipeline = config.load(folder / "t.yaml", overrides)
    found = plan.rows(pipeline, RunFolder(folder / "runs", pipeline.name), Store(folder / "runs/store"))
    return {row.name: row for row in found}


def leave(folder: Path, stage: str, wall: float, *overrides: str, metrics: Any = None, **facts: Any) -> None:
    """A finished artifact of one stage of the recipe, as a run leaves it."""
    node = config.load(folder / "t.yaml", overrides).node(stage)
    there = Store(folder / "runs/store").all()
    made = folder / f"runs/store/{node.stage.name}-{len(there):016d}"
    made.mkdir(parents=True)
    lines = facts.pop("log", [])
    (made / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = {
        "format": 1, "key": f"{len(there):064d}", "kind": node.stage.name, "stage": stage, "wall_s": wall,
        "version": node.stage.version, "config": node.config.model_dump(mode="json"), "metrics": metrics or {},
        "seed": 0, "outputs": {}, "contents": {}, "plugins": {}, "files": {}, "device": "here",
        "finished": 1.0 + len(there), "inputs": facts.pop("inputs", {}), **facts,
    }  # fmt: skip
    (made / "manifest.json").write_text(json.dumps(manifest))


def predicted(folder: Path, stage: str, *overrides: str) -> float | None:
    """The time of one stage with a model of unknown size, which runs of any size speak for."""
    pipeline = config.load(folder / "t.yaml", overrides)
    history, outlook = History(Store(folder / "runs/store")), Outlook(pipeline)
    works = {node.name: outlook.visit(node, None, None)[0] for node in pipeline.nodes}
    found = history.predict(pipeline.node(stage), works[stage], None)
    return found.seconds if found else None


def test_the_work_of_each_stage_follows_from_the_file(folder: Path) -> None:
    found = {name: row.work for name, row in rows(folder).items()}
    assert found["cold"] == Work("read", 120, 256, 4, steps=30)
    # 8 updates of 32 samples, two from each batch of rollouts; reference and old policy are asked, too.
    assert found["reason"] == Work("rl", 256, 96, 64, steps=8, rollouts=4, passes=2)
    assert found["harvest"] == Work("draw", 100, 96, 100)
    # Half of the 100 drawn are taken to be kept while nothing is measured; the context of the model is the limit.
    assert found["final"] == Work("read", 58, 512, 8, steps=8)
    assert found["scores"] == Work("draw", 320, 512, 80, models=4)
    assert found["base"] is None and found["problems"] is None
    assert rows(folder)["scores"].model == rows(folder)["reason"].model


def test_nothing_is_predicted_from_nothing(folder: Path) -> None:
    assert {row.cost_s for row in rows(folder).values()} == {None}
    assert "give --hardware" in plan.table(list(rows(folder).values()))


def test_sft_grows_with_its_rows_and_epochs_but_not_its_start(folder: Path) -> None:
    pace = {"what": "sft", "first": 1, "first_s": 6.0, "rest": 29, "rest_s": 29.0}
    leave(folder, "cold", 40.0, metrics={"rows": 60}, paces=[pace])
    assert predicted(folder, "cold") == pytest.approx(40)
    # 5 s to start, 30 s for 30 steps, 5 s besides.
    assert predicted(folder, "cold", "stages.cold.with.epochs=4") == pytest.approx(70)
    assert predicted(folder, "cold", "stages.problems.with.cold_start=120") == pytest.approx(70)


def test_grpo_steps_beyond_those_measured_last_as_long_as_the_last_quarter(folder: Path) -> None:
    log = [{"step": i + 1, "seconds/step": 1.0 if i < 6 else 3.0} for i in range(8)]
    leave(folder, "reason", 20.0, log=log)
    assert predicted(folder, "reason") == pytest.approx(20)  # 12 s of steps, 8 s of start
    assert predicted(folder, "reason", "stages.reason.with.steps=4") == pytest.approx(12)
    assert predicted(folder, "reason", "stages.reason.with.steps=16") == pytest.approx(20 + 8 * 3)
    assert predicted(folder, "reason", "stages.reason.with.group=16") == pytest.approx(8 + 24)


def test_drawing_pays_for_each_engine_and_each_completion(folder: Path) -> None:
    paces = [
        {"what": str(i), "first": 10, "first_s": s + 5, "rest": 10, "rest_s": 5.0} for i, s in enumerate((8, 2, 2, 2))
    ]
    inputs = {"models": [[name, name] for name in ("base", "cold", "reason", "final")]}
    leave(folder, "scores", 58.0, paces=paces, inputs=inputs)
    assert predicted(folder, "scores") == pytest.approx(58)  # 14 s of engines, 40 s of drawing, 4 s of grading
    assert predicted(folder, "scores", "stages.scores.with.k=8") == pytest.approx(14 + 88)
    fewer = predicted(folder, "scores", "stages.scores.from.models=[base, final]")
    assert fewer == pytest.approx(8 + 2 + 22)


def test_runs_of_the_same_stage_count_before_others_of_its_kind(folder: Path) -> None:
    pace = [{"what": "sft", "first": 1, "first_s": 1.0, "rest": 29, "rest_s": 29.0}]
    leave(folder, "final", 500.0, metrics={"rows": 58}, paces=pace)
    leave(folder, "cold", 30.0, metrics={"rows": 60}, paces=pace)
    leave(folder, "cold", 50.0, metrics={"rows": 60}, paces=pace)
    assert predicted(folder, "cold") == pytest.approx(40)  # the median of two


def test_the_runs_nearest_in_work_are_asked(folder: Path) -> None:
    slow, quick = ([{"step": i, "seconds/step": seconds} for i in range(8)] for seconds in (4.0, 1.0))
    leave(folder, "reason", 8 * 4.0, "stages.reason.with.steps=8", log=slow)
    leave(folder, "reason", 2 * 1.0, "stages.reason.with.steps=2", log=quick[:2])
    assert predicted(folder, "reason", "stages.reason.with.steps=10") == pytest.approx(40)
    assert predicted(folder, "reason", "stages.reason.with.steps=3") == pytest.approx(3)


def test_a_run_of_another_name_knows_the_yield_too(folder: Path) -> None:
    leave(folder, "harvest", 5.0, metrics={"drawn": 100, "kept": 92})
    work = rows(folder, "name=other")["final"].work
    assert work is not None and work.sequences == 92 + 8


def test_another_machine_does_not_speak_for_this_one(folder: Path) -> None:
    leave(folder, "problems", 9.0, device="elsewhere")
    leave(folder, "problems", 1.0)
    assert predicted(folder, "problems") == 1.0


def test_a_measured_yield_replaces_the_assumed_one(folder: Path) -> None:
    pipeline = config.load(folder / "t.yaml")
    outlook = Outlook(pipeline)
    last = {"harvest": {"metrics": {"drawn": 100, "kept": 92}}}
    works = {node.name: outlook.visit(node, None, last.get(node.name))[0] for node in pipeline.nodes}
    assert works["final"] is not None and works["final"].sequences == 92 + 8
