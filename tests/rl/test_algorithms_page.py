"""docs/algorithms.md says what is true of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rl.algorithms import ALGORITHMS
from rl.config import GrpoSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs/algorithms.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    lines = PAGE.partition(f"## {heading}\n")[2].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    last = next(i for i in range(first, len(lines)) if not lines[i])
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[first + 2 : last]]


def test_the_table_is_what_the_algorithms_set() -> None:
    told = {}
    for name, sets, _ in rows("What each one sets"):
        pairs = dict(re.findall(r"`(\w+): ([^`]+)`", sets))
        told[name.strip("`")] = {knob: number(text) for knob, text in pairs.items()}
    overlong = told["dapo"].pop("overlong")
    from pipelines.stages.grpo import GrpoConfig

    assert GrpoConfig(algorithm="dapo").overlong == overlong
    plain = told.pop("grpo")
    assert {knob: getattr(GrpoSettings(), knob) for knob in plain} == plain
    assert told == {name: dict(knobs) for name, knobs in ALGORITHMS.items() if name != "grpo"}


def number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return yaml.safe_load(text)


def test_the_metrics_are_those_that_the_log_keeps() -> None:
    from rl.numbers import OUR_PREFIXES, OURS, TRL_NAMES

    for cell, _ in rows("What the log says"):
        for name in re.findall(r"`([^`]+)`", cell):
            assert name in (*OURS, *TRL_NAMES.values()) or name.startswith(OUR_PREFIXES), name


def test_the_refusals_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    monkeypatch.chdir(tmp_path)
    section = PAGE.partition("## Refused\n")[2]
    (file,), (shown,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("yaml", "console"))
    Path("broken.yaml").write_text(file)
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "broken.yaml"])
    assert stopped.value.code == 2
    out, err = capfd.readouterr()
    assert (out + err).strip().splitlines() == shown.strip().splitlines()[1:]
