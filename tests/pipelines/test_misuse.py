"""What goes wrong at a terminal: readers that go away, wrong folders, runs that died, files that end the process."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.pipelines.test_runner import run, start, statuses
from tests.pipelines.toy_stages import PIPELINE, r1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    return tmp_path


@pytest.mark.parametrize("log", ["text", "json"])
def test_a_run_outlives_the_reader_of_its_output(folder: Path, log: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = r1(folder, "run", "p.yaml", "--log", log, out=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert set(statuses(folder).values()) == {"done"}


@pytest.mark.parametrize("words", [("run", "p.yaml"), ("run", "p.yaml", "--log", "json")])
def test_a_run_outlives_a_full_disk_below_its_output(folder: Path, words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        ended = r1(folder, *words, out=full.fileno())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert set(statuses(folder).values()) == {"done"}


def test_output_that_cannot_be_written_is_one_line(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = r1(folder, "plan", "p.yaml", out=full.fileno())
    assert (ended.returncode, ended.stderr) == (1, "standard output: no space left on device\n")


def test_a_reward_file_that_ends_the_process_is_a_mistake(folder: Path) -> None:
    (folder / "mine.py").write_text("import sys\n\nsys.exit()\n")
    (folder / "p.yaml").write_text(f"rewards: [./mine.py]\n{PIPELINE}")
    ended = r1(folder, "run", "p.yaml")
    assert ended.returncode == 2
    assert "mine.py failed to load: line 3: SystemExit" in ended.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def mine(:\n    pass\n", "line 1: SyntaxError: "),
        ("def helper():\n    raise ValueError('one\\ntwo')\n\n\nhelper()\n", "line 2: ValueError: one two"),
        (
            "from rewards import reward\n\n\n@reward\nasync def mine(sample) -> float:\n    return 1.0\n",
            "reward 'mine' is async; rewards are plain functions: write `def`, not `async def`",
        ),
    ],
)
def test_what_is_wrong_with_a_reward_file_has_its_line(folder: Path, text: str, told: str) -> None:
    (folder / "mine.py").write_text(text)
    (folder / "p.yaml").write_text(f"rewards: [./mine.py]\n{PIPELINE}")
    ended = r1(folder, "plan", "p.yaml")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert told in ended.stderr


def test_the_workdir_that_was_named_is_looked_at_first(folder: Path) -> None:
    for workdir in ("runs", "other"):
        assert r1(folder, "run", "p.yaml", "--workdir", workdir).returncode == 0
    (folder / "toy").symlink_to("runs/toy")
    assert r1(folder, "report", "toy", "--workdir", "other").stdout == "other/toy/report.html\n"
    assert r1(folder, "report", "./toy", "--workdir", "other").stdout == "toy/report.html\n"
    assert "runs: is a workdir: name a run in it (runs/toy)" in r1(folder, "show", "runs", "--workdir", "else").stderr


def test_an_empty_workdir_is_refused(folder: Path) -> None:
    for words in (["run", "p.yaml"], ["store", "ls"], ["toy-problems"]):
        ended = r1(folder, *words, "--workdir", "")
        assert ended.returncode == 2 and "--workdir: is empty" in ended.stderr, words
    assert [p.name for p in folder.iterdir()] == ["p.yaml"]


@pytest.mark.parametrize("words", [("ls",), ("gc",), ("verify",), ("gc", "--yes"), ("verify", "--fix")])
def test_a_store_that_is_not_there_is_not_in_good_health(folder: Path, words: tuple[str, ...]) -> None:
    ended = r1(folder, "store", *words, "--workdir", "nope")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("nope/store: no such store")


def test_a_run_whose_process_died_is_not_shown_as_running(tmp_path: Path) -> None:
    process = start(tmp_path, "sleep")
    assert "toy: running (" in r1(tmp_path, "show", "toy").stdout
    process.kill()
    process.communicate()
    shown = r1(tmp_path, "show", "toy")
    assert "toy: died: the same `r1 run` goes on from there (" in shown.stdout
    assert re.search(r"^reason +toy-train +died", shown.stdout, re.M)
    told = json.loads(r1(tmp_path, "show", "toy", "--json").stdout)
    assert (told["status"], told["stages"]["reason"]["status"], told["stages"]["cold"]["status"]) == (
        "died", "died", "done",
    )  # fmt: skip
    assert "reason: has not ended" in r1(tmp_path, "why", "toy").stdout


def test_what_is_in_the_way_of_the_store_or_of_a_link_is_named(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/store").write_text("")
    ended = r1(folder, "run", "p.yaml", "--workdir", "a")
    assert ended.returncode == 2 and ended.stderr.startswith("a/store: no store can be there (")
    (folder / "b/toy").mkdir(parents=True)
    (folder / "b/toy/cold").write_text("mine")
    ended = r1(folder, "run", "p.yaml", "--workdir", "b")
    assert ended.returncode == 2 and "b/toy/cold: is in the way of the stage's link" in ended.stderr
    assert (folder / "b/toy/cold").read_text() == "mine"


def test_plan_goes_no_further_than_until(folder: Path) -> None:
    told = r1(folder, "plan", "p.yaml", "--until", "cold").stdout
    assert "cold" in told and "reason" not in told
    assert "--until cald: no such stage (did you mean cold?)" in r1(folder, "plan", "p.yaml", "--until", "cald").stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"stages.scores.from.models": "[base, cld, reason]"}, ["unknown stage `cld` (did you mean cold?)"]),
        ({"name": "store"}, ["a folder of that name is beside the runs"]),
        ({"stages": "[base]"}, ["must be a mapping from names to stages, not a list"]),
        ({"stages.2024-01-01": "{use: toy-base}"}, ["letters, digits, '_' and '-', a letter first"]),
    ],
)
def test_one_mistake_is_one_line(folder: Path, changed: dict[str, str], told: list[str]) -> None:
    ended = r1(folder, "plan", "p.yaml", *(f"--set={path}={value}" for path, value in changed.items()))
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2 and len(lines) == len(told), lines
    assert all(text in line for text, line in zip(told, lines, strict=True)), lines


def test_a_case_without_a_field_is_told_before_any_is_graded(folder: Path) -> None:
    (folder / "cases.jsonl").write_text(
        '{"expected": true, "code": "1", "tests": {"type": "stdin", "inputs": [], "outputs": []}}\n'
        '{"expected": true, "code": "1"}\n'
    )
    ended = r1(folder, "rewards", "audit", "code", "--cases", "cases.jsonl")
    assert (ended.returncode, ended.stderr) == (2, "case 2: needs `tests` (it has expected, code)\n")
    ended = r1(folder, "rewards", "audit", "code", "--cases", "nope.jsonl")
    assert (ended.returncode, ended.stderr) == (2, "nope.jsonl: cannot be read: no such file or directory\n")


def test_a_stage_that_failed_says_so_to_why(tmp_path: Path) -> None:
    run(tmp_path, "stages.reason.with.trouble=fail")
    assert "reason: failed" in r1(tmp_path, "why", "toy").stdout
