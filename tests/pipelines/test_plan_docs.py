"""docs/plan.md shows what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from benchmarks import plan_published
from pipelines.cli import main
from pipelines.hardware import DEVICES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/plan.md").read_text()
MEASURED, HARDWARE, PUBLISHED = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def test_the_published_runs_shown_are_what_the_benchmark_prints(capsys: pytest.CaptureFixture[str]) -> None:
    plan_published.main()
    assert PUBLISHED.splitlines()[1:] == capsys.readouterr().out.splitlines()


def test_the_estimate_shown_is_what_plan_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = HARDWARE.splitlines()[0].split()[2:]
    with pytest.raises(SystemExit) as end:
        main([*words, "--workdir", str(tmp_path)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert HARDWARE.splitlines()[1:] == printed[printed.index("On ") :].splitlines()


def test_the_measured_plan_shown_is_one_of_the_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "pipelines/recipes/r1_tiny.yaml").read_text())["stages"]
    lines = MEASURED.splitlines()
    assert lines[1].split() == ["stage", "use", "plan", "cost", "why"]
    assert [tuple(line.split()[:2]) for line in lines[2 : 2 + len(recipe)]] == [
        (name, entry["use"]) for name, entry in recipe.items()
    ]
    assert re.fullmatch(r"\d of 8 stages would run: about .+", lines[-2])
    assert re.fullmatch(r"measured here: (\w+ \(\d runs?\)(, )?)+", lines[-1])


def test_every_device_is_named() -> None:
    assert all(f"`{name}`" in PAGE for name in DEVICES)
