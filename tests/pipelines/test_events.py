"""`r1 run --log json`: one event a line, nothing else on standard output, and the last line says how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pipelines import toy_stages
from tests.pipelines.toy_stages import PIPELINE


def events(folder: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    (folder / "p.yaml").write_text(PIPELINE)
    command = [sys.executable, toy_stages.__file__, "run", "p.yaml", "--log", "json", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_tells_its_stages_its_steps_and_its_result(tmp_path: Path) -> None:
    told = events(tmp_path, "--set", "stages.reason.with.steps=5")
    assert told[0]["event"] == "run" and told[0]["stages"][0] == "base" and len(told[0]["stages"]) == 6
    statuses = [(one["stage"], one["status"]) for one in told if one["event"] == "stage"]
    assert statuses[:2] == [("base", "running"), ("base", "done")] and len(statuses) == 12
    steps = [(one["step"], one["loss"]) for one in told if one["event"] == "step" and one["stage"] == "reason"]
    assert steps == [(step, 1 / step) for step in range(1, 6)]
    [done] = [one for one in told if one.get("stage") == "cold" and one.get("status") == "done"]
    assert done["metrics"]["loss"] == 1 / 3 and done["use"] == "toy-train"
    assert (told[-1]["event"], told[-1]["status"], told[-1]["exit"]) == ("result", "done", 0)
    assert told[-1]["scores"]["cold"]["pass@1"] == 0.5 and (tmp_path / told[-1]["folder"] / "run.json").exists()
    assert all(one["time"] > 0 for one in told)
    again = events(tmp_path, "--set", "stages.reason.with.steps=5")
    assert {one["status"] for one in again if one["event"] == "stage"} == {"cached"}


def test_what_stages_print_does_not_mix_with_the_events(tmp_path: Path) -> None:
    told = events(tmp_path, "--set", "stages.cold.with.trouble=fail", code=1)  # it prints READY
    assert [one["event"] for one in told].count("step") == 2
    [failed] = [one for one in told if one.get("status") == "failed" and one["event"] == "stage"]
    assert (failed["stage"], failed["error"]) == ("cold", "the loss is not a number; lower lr")
    assert (told[-1]["event"], told[-1]["status"], told[-1]["exit"]) == ("result", "failed", 1)
    assert any("not run: reason, scores, page" in one.get("text", "") for one in told)


def test_a_mistake_in_the_file_is_a_result_too(tmp_path: Path) -> None:
    [told] = events(tmp_path, "--set", "seed=x", "--set", "stages.cold.with.lr=fast", code=2)
    assert (told["event"], told["status"], told["exit"], len(told["errors"])) == ("result", "invalid", 2, 2)


def test_warnings_children_and_numbers_that_json_lacks() -> None:
    code = (
        "import os, sys, warnings\n"
        "from pipelines.events import reporting\n"
        "with reporting('json') as (console, tell):\n"
        "    os.system('echo from a child'); print('from a library'); console.print('for people')\n"
        "    warnings.warn('careful')\n"
        "    tell({'event': 'step', 'loss': float('nan'), 'load/1': [1.0, float('inf')]})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["event"], first["text"]) == ("warning", "UserWarning: careful")
    assert (second["loss"], second["load/1"]) == (None, [1.0, None])
    assert "from a child" in done.stderr and "from a library" in done.stderr


def test_a_reader_that_goes_away_does_not_cost_the_run(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    command = f"{sys.executable} {toy_stages.__file__} run p.yaml --log json | head -n 1"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads((tmp_path / "runs/toy/run.json").read_text())["status"] == "done"
