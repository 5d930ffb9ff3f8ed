"""docs/recipes.md names every recipe, and its plan is what the program prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/recipes.md").read_text()


def test_every_recipe_is_named() -> None:
    folder = ROOT / "pipelines/recipes"
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml")]
    assert [file for file in files if f"`{file}`" not in PAGE] == []


def test_every_recipe_named_exists() -> None:
    named = re.findall(r"`((?:scale/)?\w+\.yaml)`", PAGE)
    assert [name for name in named if not (ROOT / "pipelines/recipes" / name).exists()] == []


def test_the_plan_shown_is_what_plan_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = (block for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) if "--hardware" in block)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        main([*shown.splitlines()[0].split()[2:], "--workdir", str(tmp_path)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("On ") : printed.index("\n\nmemory of")]
    assert shown.splitlines()[1:] == table.splitlines()
