"""The command line: what it prints and how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import starter
from pipelines.cli import main
from pipelines.stage import known_stages
from tests.pipelines.toy_stages import PIPELINE


def r1(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_plan_and_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert r1("run", "p.yaml") == 0
    assert "runs/toy: 6 stages, 0 cached" in capsys.readouterr().out
    assert r1("plan", "p.yaml", "--set", "stages.reason.with.steps=70") == 0
    told = capsys.readouterr().out
    assert "config steps 60 -> 70" in told and "3 of 6 stages would run: about" in told
    assert r1("show", "toy") == 0
    assert "cold    50.0%   40.0% to 60.0%" in capsys.readouterr().out
    assert r1("show", "runs/toy/problems") == 0
    assert "Problems in runs/store/toy-problems-" in capsys.readouterr().out
    assert r1("show", "runs/toy/probelms") == 2
    assert "the run has no stage probelms (did you mean problems?)" in capsys.readouterr().err


def test_show_json_has_what_a_script_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r1("run", "p.yaml")
    capsys.readouterr()
    assert r1("show", "runs/toy", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["scores"]["reason"]["pass@1"] == 0.5
    assert content["stages"]["cold"]["manifest"]["metrics"]["loss"] == pytest.approx(1 / 3)
    assert content["status"] == "done" and content["stages"]["cold"]["status"] == "done"
    assert r1("show", "runs/toy/scores", "--json") == 0
    assert json.loads(capsys.readouterr().out)["scores"]["base"]["ci95"] == [0.4, 0.6]


def test_mistakes_exit_2_and_create_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert r1("run", "p.yaml", "--set", "stages.reason.with.stps=1", "--until", "x") == 2
    assert "p.yaml" not in os.listdir(folder / "..") and os.listdir(folder) == ["p.yaml"]
    assert capsys.readouterr().err.startswith("--set stages.reason.with.stps=1: stages.reason.with.stps: unknown key")
    assert r1("run", "p.yaml", "--until", "raeson") == 2
    assert "--until raeson: no such stage (did you mean reason?)" in capsys.readouterr().err
    assert r1("show", "nothing") == 2


def test_what_is_in_the_way_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert r1("--version") == 0 and re.fullmatch(r"r1 \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert r1("run", "p.yaml", "--workdir", "p.yaml") == 2
    assert (
        "p.yaml/toy: no folder can be made there (not a directory): choose another --workdir" in capsys.readouterr().err
    )
    assert r1("run", ".") == 2
    assert ".: is a folder: name the pipeline file in it (p.yaml)" in capsys.readouterr().err
    assert r1("toy-train") == 2
    assert "missing input `model` (one Model) (--from model=FOLDER)" in capsys.readouterr().err


def test_a_stage_command_is_the_call_that_the_file_makes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r1("run", "p.yaml")
    made = (folder / "runs/toy/cold").resolve()
    words = ["toy-train", "--name", "cold", "--lr", "1e-3", "--from", "model=runs/toy/base"]
    assert r1(*words, "--from", "data=runs/toy/problems/chat", "--out", "mine") == 0
    assert "cached" in capsys.readouterr().out
    assert (folder / "runs/cli-cold/cold").resolve() == made
    assert json.loads((folder / "mine/manifest.json").read_text())["key"].startswith(made.name.rpartition("-")[2])
    assert r1(*words, "--out", "mine") == 2
    assert "--out mine: exists already" in capsys.readouterr().err
    assert (
        r1(
            "toy-eval",
            "--from",
            "models=runs/toy/base",
            "--from",
            "models=runs/toy/cold",
            "--from",
            "problems=runs/toy/problems/train",
            "--out",
            "scores",
        )
        == 0
    )
    assert list(json.loads(Path("scores/scores.json").read_text())["models"]) == ["base", "cold"]


def test_a_stage_commands_mistakes_name_its_flags(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert r1("toy-train", "--lr", "fast", "--from", "modle=.", "--from", "data=gone", "--packing", "on") == 2
    told = capsys.readouterr().err.splitlines()
    assert told[:4] == [
        "--lr: stages.toy-train.with.lr: must be a number, not 'fast' (for example 1e-05: learning rate)",
        "--packing: stages.toy-train.with.packing: must be 'off' or 'bfd', not 'on' (for example off: packing)",
        "--from modle=.: stages.toy-train.from.modle: unknown input (did you mean model?)",
        "--from data=gone: stages.toy-train.from.data: ./gone: no such folder (needs a folder with rows.parquet)",
    ]
    assert os.listdir(folder) == ["p.yaml"]


def test_every_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("run", "plan", "show", "report", "init", *known_stages()):
        assert r1(word, "--help") == 0
        assert f"r1 {word}" in capsys.readouterr().out, word
    assert r1("--help") == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in known_stages())


def test_init_writes_a_pipeline_of_known_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert r1("init", "my demo") == 0
    made = yaml.safe_load((folder / "my demo/pipeline.yaml").read_text())
    assert made["name"] == "my-demo"
    assert r1("init", "my demo") == 2
    assert "my demo/my_rewards.py: exists already; nothing was written" in capsys.readouterr().err


def test_the_rewards_of_a_starter_pass_their_own_cases(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = str(starter.TEMPLATES / "my_rewards.py")
    assert r1("rewards", "list", "--plugin", plugin) == 0
    told = capsys.readouterr().out
    assert "brevity" in told and "settings: target: int = 200" in told
    assert r1("rewards", "check", "brevity", "--plugin", plugin) == 0
    assert "ok   brevity (2 cases)" in capsys.readouterr().out
    assert r1("rewards", "check", "brevty", "--plugin", plugin) == 2


def test_nothing_slow_is_imported_for_an_answer(folder: Path) -> None:
    code = (
        "import sys; from pipelines.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'transformers', 'pyarrow', 'sympy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_keeps_evaluations_apart() -> None:
    from pipelines.show import run_text

    def evaluation(value: float) -> dict[str, Any]:
        numbers = {"pass@1": value, "ci95": [value - 0.1, value + 0.1]}
        return {"use": "eval", "status": "done", "scores": {"cold": numbers}, "protocol": {}}

    english = {"use": "perplexity", "status": "done", "scores": {"cold": {"nats": 2.0}}, "protocol": {}}
    stages = {"on_sums": evaluation(0.25), "on_stories": evaluation(0.75), "english": english}
    run = {"name": "demo", "status": "done", "seed": 0, "file": "demo.yaml", "stages": stages, "scores": {}}
    _, _, sums, stories = run_text(run).split("\n\n")
    assert sums.split() == ["on_sums", "pass@1", "95%", "interval", "cold", "25.0%", "15.0%", "to", "35.0%"]
    assert stories.split()[:1] == ["on_stories"] and "75.0%" in stories
    assert "model" in run_text({**run, "stages": {"on_sums": evaluation(0.25)}}).split("\n\n")[2]
