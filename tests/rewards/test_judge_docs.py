"""docs/rewards/judge.md: shown output is the real one, named tests exist, all settings and their defaults are told."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rewards.registry import get, parse_weights
from rewards.scorer import ErrorBudgetExceeded, Scorer
from rollout.types import Sample

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "rewards" / "judge.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return DOC.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def r1(command: str, folder: Path) -> tuple[str, int]:
    run = [sys.executable, "-c", "from pipelines.cli import main; main()", *command.split()[2:]]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, env=environment)
    return done.stdout + done.stderr, done.returncode


def test_shown_commands_print_what_is_shown(tmp_path: Path) -> None:
    (rewards,) = blocks("yaml")
    stages = "  base: {use: model, with: {source: tiny-moe}}\n  problems: {use: problems, with: {n: 64}}\n"
    grpo = "  reason:\n    use: grpo\n    from: {model: base, problems: problems.train}\n    with:\n"
    indented = "".join(f"      {line}\n" for line in rewards.splitlines())
    (tmp_path / "pipeline.yaml").write_text(f"stages:\n{stages}{grpo}{indented}")
    shown = {block.partition("\n")[0]: block.partition("\n")[2] for block in blocks("console")}
    assert r1("$ r1 plan pipeline.yaml", tmp_path) == (shown["$ r1 plan pipeline.yaml"], 2)
    assert r1("$ r1 rewards check judge", tmp_path) == (shown["$ r1 rewards check judge"], 0)


def test_the_shown_setting_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k")
    assert parse_weights(yaml.safe_load(blocks("yaml")[0])["rewards"])["judge"][0] == 1.0


def test_a_judge_that_is_gone_is_told_as_shown() -> None:
    settings = {"judge": {"url": "http://127.0.0.1:9/v1", "model": "nobody", "retries": 0}}
    with Scorer(settings, workers=1) as score, pytest.raises(ErrorBudgetExceeded) as caught:
        score([[Sample("q", f"It is {n}", "Paris") for n in range(9)]])
    assert str(caught.value) == blocks("text")[0].strip()


def test_all_settings_are_told_with_their_defaults() -> None:
    told: dict[str, str] = {}
    for names, values, _ in re.findall(r"^\| (`.*?) \| (.*?) ?\| (.*) \|$", section("Settings"), re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", names), [*values.split(", "), "", ""], strict=False))
    knobs = get("judge").knobs
    assert set(told) == set(knobs)
    plain = {name: value.strip("` ") for name, value in told.items()}
    for name, knob in knobs.items():
        if knob.default not in (None, "", inspect.Parameter.empty):
            assert yaml.safe_load(plain[name]) == knob.default, name


def test_every_named_test_exists() -> None:
    source = (ROOT / "tests" / "rewards" / "test_judge.py").read_text()
    names = set(re.findall(r"`(test_\w+)`", section("Security")))
    assert len(names) > 8 and all(f"def {name}(" in source for name in names)
