"""What every way to end early says, and what it leaves: exit code, next step, the last good state."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.checkpoint import last_checkpoint
from models.sealed import seal
from pipelines.store import read_made
from tests.disks import small_disk
from tests.pipelines import toy_stages
from tests.pipelines.test_runner import leftovers, ran, run, start, statuses
from tests.pipelines.test_store_care import flip, r1
from tests.pipelines.toy_stages import PIPELINE

AGAIN = "The same command goes on from there."


def test_a_failed_stage_says_what_is_kept_and_what_to_do(tmp_path: Path) -> None:
    code, output = run(tmp_path, "stages.reason.with.trouble=fail")
    assert code == 1
    assert output.splitlines()[-1] == (
        f"Kept: base, problems, cold and a checkpoint of reason. Mend what it says. {AGAIN}"
    )


def test_missing_files_say_where_they_were_looked_for_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE.replace("use: toy-base", "use: toy-base, with: {source: ./gone}"))
    command = [sys.executable, toy_stages.__file__, "run", "p.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no such file: ./gone" in done.stderr and "put it there or correct the path" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("left", [0, 12_000])  # run.json cannot be written either; it can
def test_a_disk_that_fills_up_is_one_line_and_the_next_run_goes_on(tmp_path: Path, left: int) -> None:
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    run(quiet)
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        (disk / "left").write_text(str(left))
        process = start(disk, "full")
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 1 and "Traceback" not in output
        told = next(line for line in output.splitlines() if line.startswith("reason (toy-train) failed after"))
        assert f"the disk of {disk}/runs/store (mounted at {disk}) is full: no space left" in told
        assert output.splitlines()[-1].endswith(f"Make room there (`r1 store gc` shows what no run has). {AGAIN}")
        assert leftovers(disk) == []
        command = [sys.executable, toy_stages.__file__, "run", "p.yaml", "--set", "stages.reason.with.trouble=full"]
        still = subprocess.run(command, cwd=disk, capture_output=True, text=True)
        assert still.returncode == 1 and "is full: " in still.stdout and "Traceback" not in still.stdout + still.stderr
        (disk / "filler").unlink()
        (disk / "healed").touch()
        code, _ = run(disk, "stages.reason.with.trouble=full")
        assert code == 0
        for stage in ("cold", "reason"):
            assert shown(disk, stage) == shown(quiet, stage)


def shown(folder: Path, stage: str) -> tuple[bytes, list[float]]:
    place = folder / "runs/toy" / stage
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    return (place / "config.json").read_bytes(), [line["loss"] for line in lines]


def test_a_flipped_bit_in_a_manifest_is_found(tmp_path: Path) -> None:
    run(tmp_path)
    file = tmp_path / "runs/toy/cold/manifest.json"
    data = file.read_text()
    for now in (data.replace('"steps": 3', '"steps": 4'), data.replace('"loss"', '"lost"'), data[:-9]):
        file.write_text(now)
        done = r1(tmp_path, "store", "verify")
        assert done.returncode == 1 and "manifest.json is not what was written" in done.stdout
        code, output = run(tmp_path)
        assert code == 0 and ran(output) == ["cold"]
        assert "cold: damaged in the store, is made again: manifest.json is not what was written" in output


def test_an_input_that_is_damaged_while_the_run_is_under_way_stops_it(tmp_path: Path) -> None:
    text = PIPELINE.replace(
        "reason:\n", "again:    {use: toy-train, from: {model: cold}, with: {trouble: damage}}\n  reason:\n"
    )
    code, output = run(tmp_path, text=text)
    assert code == 1 and "cold was damaged in the store" in output and "is not what was written" in output
    code, output = run(tmp_path, text=text)
    assert code == 0 and ran(output)[0] == "cold" and statuses(tmp_path)["reason"] == "done"


def test_a_damaged_artifact_that_is_named_by_its_path_is_not_read(tmp_path: Path) -> None:
    run(tmp_path)
    shutil.copytree(tmp_path / "runs/toy/base/", tmp_path / "copy")
    made = read_made(tmp_path / "copy")
    assert made is not None
    flip(tmp_path / "copy/model/config.json")
    words = ["toy-train", "--from", "model=copy", "--out", "result"]
    done = subprocess.run([sys.executable, toy_stages.__file__, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "model/config.json is not what was written" in done.stdout
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_for_another_run_is_an_interruption(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "sleep")
    (tmp_path / "q.yaml").write_text(PIPELINE.replace("name: toy", "name: second"))
    words = ["run", "q.yaml", "--set", "stages.reason.with.trouble=sleep"]
    second = subprocess.Popen(
        [sys.executable, toy_stages.__file__, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert second.stdout is not None
    assert any("waiting" in line for line in second.stdout)
    second.send_signal(number)
    output, _ = second.communicate(timeout=20)
    assert second.returncode == 130 and AGAIN in output
    process.kill()
    process.communicate(timeout=20)


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/resume.md").read_text()
    damaged, interrupted, failed, full = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert run_lines(tmp_path / "a", "fail", "reason (") == plain(failed)
    process = start(made(tmp_path / "b"), "sleep")
    process.send_signal(signal.SIGINT)
    assert plain(interrupted)[0] in plain(process.communicate(timeout=20)[0])
    checkpoint = tmp_path / "checkpoint-10"
    for name in ("checkpoint-10", "checkpoint-20"):
        made(tmp_path / name)
        (tmp_path / name / "optimizer.pt").write_text(name)
        seal(tmp_path / name)
    flip(tmp_path / "checkpoint-20/optimizer.pt")
    told: list[str] = []
    assert last_checkpoint(tmp_path, told.append) == checkpoint
    assert plain(told[0]) == plain(damaged.replace("runs/store/.scratch/sft-0123456789abcdef", str(tmp_path)))
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        (disk / "left").write_text("0")
        shown = full.replace("/data", str(disk))
        assert run_lines(disk, "full", "reason (") == plain(shown)


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def run_lines(folder: Path, trouble: str, first: str) -> list[str]:
    """What a run with this trouble prints, from the line that begins with `first`."""
    lines = plain(run(made(folder), f"stages.reason.with.trouble={trouble}")[1])
    return lines[next(i for i, line in enumerate(lines) if line.startswith(first)) :]


def plain(text: str) -> list[str]:
    """Lines with times, sizes and digests made alike."""
    return re.sub(r"\b[0-9a-f]{12}\b", "#", re.sub(r"\d[\d.]* (s|B|kB|MB)\b", "#", text)).splitlines()
