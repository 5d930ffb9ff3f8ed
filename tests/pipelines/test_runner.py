"""Runs of toy stages: what is made once, what is made again, and what every way to die leaves behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipelines import config, runner
from pipelines.run_folder import RunFolder
from pipelines.store import Store
from tests.pipelines import toy_stages
from tests.pipelines.toy_stages import PIPELINE


def run(folder: Path, *overrides: str, until: str | None = None, text: str = PIPELINE) -> tuple[int, str]:
    (folder / "p.yaml").write_text(text)
    out = io.StringIO()
    pipeline = config.load(folder / "p.yaml", overrides)
    code = runner.run(pipeline, folder / "runs", Console(file=out, width=200), until=until)
    return code, out.getvalue()


def ran(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if " done in " in line]


def statuses(folder: Path) -> dict[str, str]:
    stages = RunFolder(folder / "runs", "toy").content["stages"]
    return {name: record["status"] for name, record in stages.items()}


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in (folder / "runs/store").glob(".tmp-*")]


def test_a_second_run_runs_nothing_and_a_change_only_what_depends_on_it(tmp_path: Path) -> None:
    code, output = run(tmp_path)
    assert (code, ran(output)) == (0, ["base", "problems", "cold", "reason", "scores", "page"])
    assert (tmp_path / "runs/toy/report.html").read_text() == "<h1>run</h1>"
    assert json.loads((tmp_path / "runs/toy/cold/config.json").read_text())["rows"] == 1
    assert ran(run(tmp_path)[1]) == []
    assert ran(run(tmp_path, "stages.reason.with.steps=70")[1]) == ["reason", "scores"]  # the page's input is the same
    assert ran(run(tmp_path)[1]) == []  # the old results are still there


def test_the_seed_is_part_of_the_key_and_each_stage_has_its_own(tmp_path: Path) -> None:
    run(tmp_path)
    assert "problems" in ran(run(tmp_path, "seed=1")[1])
    made = [json.loads((tmp_path / "runs/toy" / name / "manifest.json").read_text()) for name in ("cold", "reason")]
    assert made[0]["seed"] != made[1]["seed"]


def test_the_same_content_from_another_place_is_the_same_input(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("one")
    assert "base" in ran(run(tmp_path, "stages.base.with.source=./base.txt")[1])
    os.utime(tmp_path / "base.txt", (1, 1))
    assert ran(run(tmp_path, "stages.base.with.source=./base.txt")[1]) == []
    (tmp_path / "base.txt").write_text("two")
    assert ran(run(tmp_path, "stages.base.with.source=./base.txt")[1])[:2] == ["base", "cold"]


def test_a_manifest_says_what_a_number_rests_on(tmp_path: Path) -> None:
    run(tmp_path)
    manifest = json.loads((tmp_path / "runs/toy/cold/manifest.json").read_text())
    assert manifest["refs"] == {"model": ["base"], "data": ["problems.chat"]}
    assert manifest["config"]["lr"] == 1e-3 and manifest["metrics"]["loss"] == pytest.approx(1 / 3)
    assert manifest["versions"]["python"] and manifest["device"] and manifest["wall_s"] >= 0
    assert set(manifest["contents"]) == {"config.json", "metrics.jsonl"}


def test_until_stops_there_and_keeps_what_is_still_right(tmp_path: Path) -> None:
    assert ran(run(tmp_path, until="cold")[1]) == ["base", "problems", "cold"]
    assert statuses(tmp_path)["reason"] == "pending" and not (tmp_path / "runs/toy/reason").exists()
    run(tmp_path)
    run(tmp_path, until="cold")
    assert statuses(tmp_path)["reason"] == "cached" and (tmp_path / "runs/toy/reason").exists()
    run(tmp_path, "stages.cold.with.steps=2", until="cold")
    assert statuses(tmp_path)["reason"] == "pending" and not (tmp_path / "runs/toy/reason").exists()


def test_a_failed_stage_stops_the_run_and_fails_again(tmp_path: Path) -> None:
    for _ in range(2):
        code, output = run(tmp_path, "stages.cold.with.trouble=hopeless")
        assert code == 1
        assert "cold (toy-train) failed after 0.0 s: the loss is not a number; lower lr" in output
        assert "not run: reason, scores, page" in output
        assert statuses(tmp_path)["cold"] == "failed" and statuses(tmp_path)["reason"] == "pending"
        assert leftovers(tmp_path) == []
    assert not (tmp_path / "runs/toy/cold").exists()


def test_a_bug_in_a_stage_leaves_its_traceback_in_a_file(tmp_path: Path) -> None:
    code, output = run(tmp_path, "stages.cold.with.trouble=crash")
    assert code == 1 and "failed after 0.0 s: ValueError: a bug in the stage" in output
    assert "Traceback" not in output
    assert "Traceback" in (tmp_path / "runs/toy/cold.error.txt").read_text()


def test_a_killed_stage_goes_on_from_its_checkpoint_with_its_metrics(tmp_path: Path) -> None:
    run(tmp_path, "stages.reason.with.trouble=fail")
    (tmp_path / "healed").touch()
    code, _ = run(tmp_path, "stages.reason.with.trouble=fail")
    reason = tmp_path / "runs/toy/reason"
    assert code == 0 and json.loads((reason / "manifest.json").read_text())["metrics"]["resumed_at"] == 2
    steps = [json.loads(line)["step"] for line in (reason / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 61))
    assert list((tmp_path / "runs/store/.scratch").iterdir()) == []


def test_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "runs/toy/cold/config.json").write_text("{}")
    assert ran(run(tmp_path)[1]) == ["cold"]
    assert json.loads((tmp_path / "runs/toy/cold/config.json").read_text())["steps"] == 3


def start(folder: Path, trouble: str) -> subprocess.Popen[str]:
    """`r1 run` in a process of its own, returned once stage `reason` is in the middle of its work."""
    (folder / "p.yaml").write_text(PIPELINE)
    words = ["run", "p.yaml", "--set", f"stages.reason.with.trouble={trouble}"]
    command = [sys.executable, toy_stages.__file__, *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("READY"):
            return process
    raise AssertionError("the stage never came to its middle")


@pytest.mark.parametrize(("trouble", "number"), [("sleep", signal.SIGINT), ("swallow", signal.SIGTERM)])
def test_ctrl_c_says_what_is_kept_and_leaves_nothing_half_written(tmp_path: Path, trouble: str, number: int) -> None:
    process = start(tmp_path, trouble)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    told = [line for line in output.splitlines() if line.startswith("Interrupted in reason")]
    assert told and "Kept: base, problems, cold and a checkpoint of reason" in told[0]
    assert "Traceback" not in output
    assert leftovers(tmp_path) == [] and statuses(tmp_path)["reason"] == "interrupted"
    (tmp_path / "healed").touch()
    code, output = run(tmp_path, f"stages.reason.with.trouble={trouble}")
    assert code == 0 and ran(output) == ["reason", "scores", "page"]


def test_kill_9_leaves_no_artifact_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    process = start(tmp_path, "sleep")
    busy = subprocess.run(
        [sys.executable, toy_stages.__file__, "run", "p.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert busy.returncode == 2 and f"process {process.pid} is running this pipeline" in busy.stderr
    process.kill()
    process.communicate(timeout=20)
    assert len(leftovers(tmp_path)) == 1
    assert not [p for p in (tmp_path / "runs/store").glob("toy-train-*") if not (p / "manifest.json").exists()]
    (tmp_path / "healed").touch()
    code, output = run(tmp_path, "stages.reason.with.trouble=sleep")
    assert code == 0 and ran(output) == ["reason", "scores", "page"]
    assert leftovers(tmp_path) == []
    assert json.loads((tmp_path / "runs/toy/reason/manifest.json").read_text())["metrics"]["resumed_at"] == 2


def test_a_running_stage_of_another_process_is_not_cleaned_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("model", "k" * 64, lambda pid: None):
        store.open("model", "k" * 64)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from pathlib import Path; from pipelines.store import Store; "
                f"print(Store(Path({str(tmp_path)!r})).clean())",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "[]"
    assert store.clean() == [store.temp("model", "k" * 64).name]
