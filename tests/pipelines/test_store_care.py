"""The store is checked before it is used, cleaned on request, shared by runs, and may be moved."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.store import Store
from pipelines.store_care import corruption, entries, size_text, unused
from tests.pipelines import toy_stages
from tests.pipelines.test_runner import ran, run, start, statuses
from tests.pipelines.toy_stages import PIPELINE, r1


def flip(file: Path) -> None:
    """One bit of a file, at its size and at its times."""
    about = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_flipped_bit_is_found_before_the_artifact_is_used(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "runs/toy/cold/config.json").read_bytes()
    flip(tmp_path / "runs/toy/cold/config.json")
    code, output = run(tmp_path, "stages.reason.with.steps=61")
    assert code == 0 and ran(output) == ["cold", "reason", "scores"]
    assert "cold: damaged in the store, is made again: config.json is not what was written" in output
    assert (tmp_path / "runs/toy/cold/config.json").read_bytes() == before


def test_the_inputs_of_what_is_made_again_are_checked_too(tmp_path: Path) -> None:
    run(tmp_path)
    for name in ("cold/config.json", "base/model/config.json"):
        flip(tmp_path / "runs/toy" / name)
    assert ran(run(tmp_path, "stages.reason.with.steps=61")[1]) == ["base", "cold", "reason", "scores"]


def test_what_shows_numbers_compares_them_first(tmp_path: Path) -> None:
    run(tmp_path)
    flip(tmp_path / "runs/toy/reason/metrics.jsonl")
    flip(tmp_path / "runs/toy/scores/scores.json")
    done = r1(tmp_path, "report", "toy")
    assert done.returncode == 0 and done.stdout == "runs/toy/report.html\n"
    assert re.findall(
        r"^(\w+): (\S+) is not what was written \(sha256 .*\); left out of the page. `r1", done.stderr, re.M
    ) == [
        ("reason", "metrics.jsonl"),
        ("scores", "scores.json"),
    ]
    shown = r1(tmp_path, "show", "toy").stdout
    assert re.search(r"^scores +toy-eval +damaged +scores.json is not what was written", shown, re.M)
    assert (
        "pass@1" not in shown and "`r1 store verify --fix`, then run again" in r1(tmp_path, "show", "toy/scores").stdout
    )
    assert r1(tmp_path, "store", "verify", "--fix").returncode == 0
    assert ran(run(tmp_path)[1]) == ["reason", "scores"]
    assert r1(tmp_path, "report", "toy").stderr == ""


@pytest.mark.parametrize("file", ["cold/config.json", "problems/train/rows.parquet", "scores/scores.json"])
def test_verify_finds_every_flipped_bit_and_fix_has_it_made_again(tmp_path: Path, file: str) -> None:
    run(tmp_path)
    assert r1(tmp_path, "store", "verify").stdout == "6 artifacts, 0 damaged\n"
    flip(tmp_path / "runs/toy" / file)
    done = r1(tmp_path, "store", "verify")
    stage = file.partition("/")[0]
    assert done.returncode == 1 and f"(toy/{stage})" in done.stdout and "is not what was written" in done.stdout
    done = r1(tmp_path, "store", "verify", "--fix")
    assert done.returncode == 0 and "1 removed" in done.stdout
    assert stage in ran(run(tmp_path)[1])
    assert r1(tmp_path, "store", "verify").returncode == 0


def test_a_collection_removes_what_no_run_has(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, "stages.reason.with.steps=61")
    store = Store(tmp_path / "runs/store")
    idle = [entry.folder.name for entry in unused(entries(store, tmp_path / "runs"))]
    assert len(idle) == 2  # the reason and the scores of the first run
    (store.root / ".tmp-toy-train-1234").mkdir()
    listed = r1(tmp_path, "store", "ls").stdout
    assert "toy/reason" in listed and "9 in all" in listed and "3 unused" in listed
    assert "would remove" in r1(tmp_path, "store", "gc").stdout and (store.root / idle[0]).exists()
    assert "nothing to remove" in r1(tmp_path, "store", "gc", "--older-than", "1").stdout
    done = r1(tmp_path, "store", "gc", "--yes")
    assert done.returncode == 0 and all(f"removed {name} (" in done.stdout for name in idle)
    assert not any((store.root / name).exists() for name in [*idle, ".tmp-toy-train-1234"])
    assert ran(run(tmp_path, "stages.reason.with.steps=61")[1]) == []


def test_a_checkpoint_that_a_run_would_go_on_from_is_kept(tmp_path: Path) -> None:
    run(tmp_path, "stages.reason.with.trouble=fail")
    assert r1(tmp_path, "store", "gc", "--yes").stdout == "nothing to remove\n"
    assert len(list((tmp_path / "runs/store/.scratch").iterdir())) == 1


def test_nothing_is_removed_while_a_run_uses_the_store(tmp_path: Path) -> None:
    process = start(tmp_path, "sleep")
    try:
        for words in (["gc", "--yes"], ["verify", "--fix"]):
            done = r1(tmp_path, "store", *words)
            assert done.returncode == 2 and "a run is using the store" in done.stderr
        assert r1(tmp_path, "store", "ls").returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=20)
    assert r1(tmp_path, "store", "gc", "--yes").returncode == 0


def test_two_runs_on_one_store_make_each_artifact_once(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    command = [sys.executable, toy_stages.__file__, "run", "p.yaml", "--set"]
    both = [
        subprocess.Popen([*command, f"name={name}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(stage for output in outputs for stage in ran(output)) == sorted(
        ["base", "problems", "cold", "reason", "scores", "page"]
    )


def test_a_moved_workdir_is_the_same_workdir(tmp_path: Path) -> None:
    run(tmp_path)
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "elsewhere", tmp_path / "there/runs")
    assert ran(run(tmp_path / "there")[1]) == []
    assert statuses(tmp_path / "there")["reason"] == "cached"
    assert all(entry.users for entry in entries(Store(tmp_path / "there/runs/store"), tmp_path / "there/runs"))


def test_the_documented_commands_print_what_is_shown(tmp_path: Path) -> None:
    doc = (Path(__file__).resolve().parents[2] / "docs" / "store.md").read_text()
    whole, broken = re.findall(r"^```console\n(.*?)^```$", doc, re.MULTILINE | re.DOTALL)
    run(tmp_path)
    for block in (whole, broken):
        for command, shown in re.findall(r"^\$ r1 (.*)\n((?:[^$].*\n)+)", block, re.MULTILINE):
            printed = r1(tmp_path, *command.split()).stdout
            digits = re.compile(r"[0-9a-f]{12,16}")
            assert digits.sub("#", printed) == digits.sub("#", shown)
        if block is whole:
            flip(tmp_path / "runs/toy/cold/config.json")


def test_sizes_are_said_as_people_say_them() -> None:
    assert [size_text(n) for n in (12, 3400, 5_100_000, 234_000_000)] == ["12 B", "3.4 kB", "5.1 MB", "234 MB"]


def test_an_artifact_is_whole_or_says_what_is_wrong(tmp_path: Path) -> None:
    run(tmp_path)
    made = Store(tmp_path / "runs/store")
    found = [entry for entry in entries(made, tmp_path / "runs") if entry.stage == "cold"]
    from pipelines.store import read_made

    cold = read_made(found[0].folder)
    assert cold is not None and corruption(cold) == ""
    (cold.folder / "config.json").unlink()
    assert corruption(cold) == "config.json is missing"
