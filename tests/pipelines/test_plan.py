"""`r1 plan` tells the truth: what it says would run is what runs, and why."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field
from rich.console import Console

from pipelines import config, plan, runner
from pipelines.run_folder import RunFolder
from pipelines.stage import REGISTRY
from pipelines.store import Store
from tests.pipelines.toy_stages import PIPELINE, ToyTrainConfig


def planned(folder: Path, *overrides: str) -> dict[str, tuple[str, str]]:
    pipeline = config.load(folder / "p.yaml", overrides)
    rows = plan.rows(pipeline, RunFolder(folder / "runs", pipeline.name), Store(folder / "runs/store"))
    return {row.name: (row.status, row.reason) for row in rows}


def run(folder: Path, *overrides: str) -> str:
    out = io.StringIO()
    runner.run(config.load(folder / "p.yaml", overrides), folder / "runs", Console(file=out, width=200))
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    return tmp_path


def test_a_first_plan_is_all_new_and_creates_nothing(folder: Path) -> None:
    assert planned(folder) == {
        "base": ("new", "never run"),
        "problems": ("new", "never run"),
        "cold": ("new", "depends on base, problems"),
        "reason": ("new", "depends on cold"),
        "scores": ("new", "depends on base, cold, reason, problems"),
        "page": ("new", "depends on scores"),
    }
    assert [p.name for p in folder.iterdir()] == ["p.yaml"]


def test_each_reason_is_told(folder: Path) -> None:
    run(folder)
    assert {status for status, _ in planned(folder).values()} == {"cached"}
    found = planned(folder, "stages.reason.with.steps=70", "stages.reason.with.router={kind: bias}")
    assert found["reason"] == ("stale", "config steps 60 -> 70; config router.kind frozen -> bias")
    assert found["scores"] == ("stale", "depends on reason")
    assert found["cold"][0] == "cached"
    assert planned(folder, "seed=1")["problems"] == ("stale", "seed 0 -> 1")
    swapped = planned(folder, "stages.reason.from.model=base")
    assert swapped["reason"] == ("stale", "input model cold -> base")
    text = PIPELINE.replace("data: problems.chat", "data: [problems.chat, more.chat]")
    (folder / "p.yaml").write_text(text.replace("  page:", "  more: {use: toy-problems}\n  page:"))
    found = planned(folder)
    assert found["more"] == ("new", "never run") and found["cold"] == ("stale", "depends on more")


def test_a_setting_that_comes_later_makes_nothing_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Grown(ToyTrainConfig):
        added = ("clip",)
        clip: float = Field(0.0, description="a setting of a later release, off")

    run(folder)
    monkeypatch.setitem(REGISTRY, "toy-train", replace(REGISTRY["toy-train"], config=Grown))
    assert {status for status, _ in planned(folder).values()} == {"cached"}
    assert planned(folder, "stages.reason.with.clip=0.2")["reason"] == ("stale", "config clip nothing -> 0.2")
    longer = planned(folder, "stages.reason.with.steps=70")
    assert longer["reason"] == ("stale", "config steps 60 -> 70")


def test_failures_damage_and_loss_are_told(folder: Path) -> None:
    run(folder, "stages.cold.with.trouble=hopeless")
    told = planned(folder, "stages.cold.with.trouble=hopeless")["cold"]
    assert told == ("new", "failed last time: the loss is not a number; lower lr")
    run(folder)
    (folder / "runs/toy/reason/config.json").unlink()
    assert planned(folder)["reason"] == ("stale", "damaged in the store: config.json is missing")
    made = (folder / "runs/toy/problems").resolve()
    for path in sorted(made.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    made.rmdir()
    assert planned(folder)["problems"] == ("new", "gone from the store")


def test_the_table_sums_up_the_cost() -> None:
    rows = [
        plan.Row("base", "model", "cached", "made in 0.1 s", 0.0),
        plan.Row("reason", "grpo", "stale", "config steps 60 -> 70", 185.0),
        plan.Row("scores", "eval", "new", "depends on reason", None),
    ]
    assert plan.table(rows).splitlines() == [
        "stage   use    plan    cost         why",
        "base    model  cached               made in 0.1 s",
        "reason  grpo   stale   ~3 min 05 s  config steps 60 -> 70",
        "scores  eval   new     unknown      depends on reason",
        "",
        "2 of 3 stages would run: about 3 min 05 s and 1 of unknown cost",
    ]


def test_the_table_says_what_is_measured(folder: Path) -> None:
    from pipelines.work import Work

    work = Work("rl", 100, 96, 10)
    rows = [
        plan.Row("cold", "sft", "stale", "changed", 20.0, 3, work=work),
        plan.Row("reason", "grpo", "new", "never run", None, work=work),
    ]
    assert plan.table(rows).splitlines()[-2:] == [
        "measured here: cold (3 runs)",
        "never run here: give --hardware for an estimate, as in --hardware 8xh800",
    ]


@pytest.mark.parametrize(
    ("setting", "held"),
    [
        ("reason.with.engine=vllm", "engine 1.34 TB"),
        ("reason.with.replicas=4", "engine 5.37 TB"),
        ("reason.with.lora_rank=8", "reference 112 MB"),
        ("cold.with={lora_rank: 8, rehearsal: logits}", "reference 2.68 TB"),
    ],
)
def test_an_estimate_counts_every_copy_of_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, held: str
) -> None:
    """DeepSeek-V3: 671B weights, 2 bytes in each engine, 4 in what an SFT holds texts to; an adapter is small."""
    from pipelines.cli import main

    stage = setting.partition(".")[0]
    (tmp_path / "p.yaml").write_text(
        "stages:\n  base: {use: model, with: {source: deepseek-ai/DeepSeek-V3-Base}}\n  problems: {use: problems}\n"
        + {
            "reason": "  reason: {use: grpo, from: {model: base, problems: problems.train}, with: {beta: 0.1}}\n",
            "cold": "  cold: {use: sft, from: {model: base, samples: problems.cold_start}}\n",
        }[stage]
    )
    with pytest.raises(SystemExit) as end:
        main(
            [
                "plan",
                str(tmp_path / "p.yaml"),
                "--workdir",
                str(tmp_path),
                "--hardware",
                "64xh800",
                "--set",
                f"stages.{setting}",
            ]
        )
    assert end.value.code == 0 and held in capsys.readouterr().out


def test_an_estimate_names_its_assumptions_and_unknown_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    (tmp_path / "p.yaml").write_text(
        "stages:\n  base: {use: model, with: {source: deepseek-ai/DeepSeek-V3-Base}}\n"
        "  other: {use: model, with: {source: some/model}}\n  problems: {use: problems}\n"
        "  reason: {use: grpo, from: {model: base, problems: problems.train}, with: {max_tokens: 32768}}\n"
        "  small: {use: sample, from: {model: other, problems: problems.train}}\n"
    )
    words = ["plan", str(tmp_path / "p.yaml"), "--workdir", str(tmp_path / "runs"), "--hardware"]
    with pytest.raises(SystemExit) as end:
        main([*words, "64xh800", "--price", "3"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and not (tmp_path / "runs").exists()
    (line,) = (line for line in said.splitlines() if line.startswith("reason  671B"))
    assert "37.6B active" in line and "(needs " in line  # more memory than 64 devices have
    assert "no estimate for small" in said and "$3 an hour" in said and "38.9% of peak" in said
    with pytest.raises(SystemExit) as end:
        main([*words, "64xh8000"])
    assert end.value.code == 2 and "did you mean h800?" in capsys.readouterr().err
