"""Every shipped recipe is a valid pipeline whose cost can be told; those for clusters keep the paper's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models import smollm2
from pipelines import config, plan
from pipelines.estimate import estimates
from pipelines.graph import Pipeline
from pipelines.hardware import parse_hardware
from pipelines.run_folder import RunFolder
from pipelines.store import Store

FOLDER = Path(__file__).resolve().parents[2] / "pipelines/recipes"
SCALE = sorted((FOLDER / "scale").glob("*.yaml"))
ALL = [*sorted(FOLDER.glob("*.yaml")), *SCALE]
WORKS = {"pretrain", "sft", "grpo", "sample", "rehearsal", "eval"}
UPCYCLED = ("r1_smollm2_moe",)  # the plan reads no sizes from a package and does not follow an upcycling


@pytest.fixture(autouse=True)
def _with_every_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe is as valid where the weights' own package is not installed (`make smollm2`); nothing is loaded here."""
    monkeypatch.setattr(smollm2, "missing", lambda: None)


def rows(pipeline: Pipeline, tmp_path: Path) -> list[plan.Row]:
    return plan.rows(pipeline, RunFolder(tmp_path, pipeline.name), Store(tmp_path / "store"))


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.stem)
def test_a_recipe_loads_and_every_stage_that_works_has_known_sizes(file: Path, tmp_path: Path) -> None:
    pipeline = config.load(file)
    working = [row for row in rows(pipeline, tmp_path) if row.kind in WORKS]
    assert working
    for row in working:
        assert row.model is not None or file.stem in UPCYCLED, f"{row.name}: model of unknown size"
        assert row.work is not None and row.work.sequences > 0, f"{row.name}: unknown work"


def test_names_of_recipes_are_their_own() -> None:
    names = [config.load(file).name for file in ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", SCALE, ids=lambda file: file.stem)
def test_a_recipe_for_clusters_is_priced(file: Path, tmp_path: Path) -> None:
    text = estimates(rows(config.load(file), tmp_path), parse_hardware("512xh800"), price=2.0, fill=0.163)
    assert "no estimate" not in text and "does not fit" not in text
    assert text.splitlines()[1].split() == ["stage", "model", "trained", "drawn", "memory", "time", "hours", "cost"]


def settings(file: Path, kind: str) -> list[Any]:
    return [node.config for node in config.load(file).nodes if node.stage.name == kind]


@pytest.mark.parametrize("file", [file for file in SCALE if file.stem != "r1_distill"], ids=lambda file: file.stem)
def test_rl_at_scale_has_the_papers_settings(file: Path) -> None:
    """arXiv 2501.12948v2, 2.1 and 3.2.1."""
    paper = {"prompts_per_step": 32, "group": 16, "minibatches": 16, "inner_epochs": 1, "lr": 3e-6, "beta": 0.001}
    paper |= {"ref_every": 400, "epsilon": 10.0, "temperature": 1.0}
    runs = settings(file, "grpo")
    assert runs
    for run in runs:
        assert {name: getattr(run, name) for name in paper} == paper
        assert run.max_tokens in (32768, 65536)


def test_students_have_the_papers_learning_rates() -> None:
    """arXiv 2501.12948v2, B.4.3."""
    found = [run.lr for run in settings(FOLDER / "scale/r1_distill.yaml", "sft")]
    assert found == [1e-4, 8e-5, 7e-5, 6e-5, 5e-5, 2e-5]
