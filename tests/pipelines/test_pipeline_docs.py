"""The two pages about pipelines say what is true of the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines import config, starter
from pipelines.artifacts import write_rows
from pipelines.context import Context
from pipelines.stage import known_stages
from tests.pipelines.toy_stages import PIPELINE

ROOT = Path(__file__).resolve().parents[2]
FILE_PAGE = (ROOT / "docs/pipeline-file.md").read_text()
STAGE_PAGE = (ROOT / "docs/writing-a-stage.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def first_column(page: str, heading: str) -> list[str]:
    table = page.partition(heading)[2].lstrip().splitlines()
    rows = [line.split("|")[1].strip() for line in table[: next(i for i, x in enumerate(table) if not x.strip())]]
    return [row.strip("`") for row in rows[2:]]


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    assert first_column(FILE_PAGE, "## Keys") == list(config.TOP)
    assert first_column(FILE_PAGE, "In a stage:") == list(config.PER_STAGE)


def test_the_context_table_is_the_context() -> None:
    told = {re.match(r"ctx\.(\w+)", row)[1] for row in first_column(STAGE_PAGE, "## The context")}  # type: ignore[index]
    made = {name for name in {*Context.__dataclass_fields__, *vars(Context)} if not name.startswith("_")}
    assert told == made - {"base", "console", "numbers", "speeds", "bars", "close", "listen"}


def test_the_starter_is_the_file_that_the_page_shows() -> None:
    shown = yaml.safe_load(blocks(FILE_PAGE, "yaml")[0])
    written = yaml.safe_load((starter.TEMPLATES / "starter.yaml").read_text().replace("NAME", "demo", 1))
    assert shown == written


def test_the_file_of_the_page_is_valid(tmp_path: Path) -> None:
    uses = {entry["use"] for entry in yaml.safe_load(blocks(FILE_PAGE, "yaml")[0])["stages"].values()}
    if not uses <= set(known_stages()):
        pytest.skip("not every kind of stage is there")
    starter.write(tmp_path)
    code = "from pipelines.cli import main; main()"  # a process of its own: rewards register once
    command = [sys.executable, "-c", code, "plan", str(tmp_path / "pipeline.yaml"), "--workdir", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0 and b"6 of 6 stages would run" in done.stdout, done.stderr


def test_the_mistakes_of_the_page_are_what_plan_prints(tmp_path: Path) -> None:
    (broken,) = (block for block in blocks(FILE_PAGE, "yaml") if block.startswith("name: broken"))
    (tmp_path / "broken.yaml").write_text(broken)
    (tmp_path / "my_reward.py").touch()
    shown = next(block for block in blocks(FILE_PAGE, "console") if "broken.yaml" in block)
    code = "from pipelines.cli import main; main()"
    command = [sys.executable, "-c", code, "plan", "broken.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines() == shown.splitlines()[1:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.yaml", "my_reward.py"]


def test_the_stage_of_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "pipelines_doc.py").write_text(blocks(STAGE_PAGE, "python")[0])
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pipelines_doc\n"
        "from pipelines.cli import main; main(sys.argv[1:])"
    )
    rows = [{"id": str(i), "prompt": "p", "completion": "x" * n} for i, n in enumerate([1, 500])]
    write_rows(tmp_path / "in", rows)
    command = [sys.executable, "-c", code, "shorten", "--from", "samples=in", "--max-chars", "200", "--out", "short"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line for line in blocks(STAGE_PAGE, "console")[0].splitlines() if "running" in line]
    assert told[0] in done.stdout.splitlines()
    assert "seen=2 kept=1" in done.stdout and (tmp_path / "short/rows.parquet").exists()


def test_the_plan_of_the_page_is_what_plan_prints(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(PIPELINE)
    toy = str(ROOT / "tests/pipelines/toy_stages.py")
    subprocess.run([sys.executable, toy, "run", "toy.yaml"], cwd=tmp_path, check=True, capture_output=True)
    shown = next(block for block in blocks(FILE_PAGE, "console") if "toy.yaml" in block)
    words = shown.splitlines()[0].split()[2:]
    printed = subprocess.run([sys.executable, toy, *words], cwd=tmp_path, capture_output=True, text=True, check=True)

    def plain(text: str) -> list[str]:
        return [re.sub(r"[\d.]+ s", "T", re.sub(r" +", " ", line)) for line in text.splitlines()]

    assert plain(printed.stdout) == plain("\n".join(shown.splitlines()[1:]))


def test_the_gate_shown_is_a_valid_one(tmp_path: Path) -> None:
    from pipelines import config

    (shown,) = (block for block in blocks(FILE_PAGE, "yaml") if "needs:" in block)
    stages = "".join(
        f"  {line}\n"
        for line in (
            "base: {use: model}", "problems: {use: problems}",
            "cold: {use: sft, from: {model: base, samples: problems.cold_start}}",
            "reason: {use: grpo, from: {model: cold, problems: problems.train}}",
        )
    )  # fmt: skip
    (tmp_path / "gated.yaml").write_text(f"stages:\n{stages}{shown}")
    gate = config.load(tmp_path / "gated.yaml").node("harvest").gate
    assert gate is not None
    assert (gate.scores, gate.model, dict(gate.bounds), gate.vs) == ("check", "reason", {"pass@1": (">=", 0.6)}, "cold")


def test_the_decontamination_shown_is_valid(tmp_path: Path) -> None:
    from pipelines import config

    page = (ROOT / "docs" / "decontamination.md").read_text()
    (shown,) = blocks(page, "yaml")
    before = (
        "  base: {use: model}\n  problems: {use: problems}\n"
        "  harvest: {use: sample, from: {model: base, problems: problems.train}}\n"
    )
    (tmp_path / "clean.yaml").write_text(f"stages:\n{before}{shown}")
    assert {node.stage.name for node in config.load(tmp_path / "clean.yaml").nodes} >= {"clean", "clean-samples"}
