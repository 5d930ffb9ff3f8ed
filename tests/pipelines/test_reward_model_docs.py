"""The pages about reward models and the reward `preference` say what is true of the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pipelines import config

ROOT = Path(__file__).resolve().parents[2]
MODELS = (ROOT / "docs/reward-models.md").read_text()
PREFERENCE = (ROOT / "docs/rewards/preference.md").read_text()
PLAN = """\
stages:
  base: {use: model, with: {source: tiny-moe}}
  sums: {use: problems, with: {source: arithmetic}}
  align: {use: grpo, from: {model: base, problems: sums.train}, with: {rewards: {preference: 1.0}}}
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def first_column(page: str, heading: str) -> set[str]:
    table = page.partition(heading)[2].lstrip().splitlines()
    rows = [line.split("|")[1] for line in table[: next(i for i, x in enumerate(table) if not x.strip())]]
    return {name for row in rows[2:] for name in re.findall(r"`(\w+)`", row)}


def test_the_file_of_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(blocks(MODELS, "json")[0])
    (tmp_path / "p.yaml").write_text(blocks(MODELS, "yaml")[0])
    assert [node.stage.name for node in config.load(tmp_path / "p.yaml").nodes][-1] == "reward-model"


def test_the_numbers_of_the_page_are_those_of_the_stage() -> None:
    from sft.reward_metrics import label_numbers, pair_numbers

    pairs, labels = pair_numbers([1.0, 0.0], [3, 4]), label_numbers([1.0, -1.0], [1.0, 0.0], [3, 4])
    table = first_column(MODELS, "and in `reward_model.json`:\n")
    named = table | set(re.findall(r"`(length_good|length_bad)`", MODELS))
    assert named == {*pairs, *labels} - {"rows", "share_good"}
    assert set(re.findall(r"^held_out/(\w+)", MODELS, re.MULTILINE)) == set(pairs)


def test_the_settings_of_the_page_are_those_of_the_reward() -> None:
    from rewards.registry import get

    table = {row.split("|")[1].strip(" `") for row in PREFERENCE.splitlines() if row.startswith("| `")}
    assert table == set(get("preference").knobs)


def test_the_commands_shown_print_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "align.yaml").write_text(PLAN)
    for block in blocks(PREFERENCE, "console"):
        command, _, shown = block.partition("\n")
        run = [sys.executable, "-c", "from pipelines.cli import main; main()", *command.split()[2:]]
        env = {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=env)
        assert (done.stdout or done.stderr) == shown, done
        assert done.returncode == (0 if "check" in command else 2)
