"""The pages on rejection sampling, held-out problems, watching a run and the doctor say what is true of the program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import config, events
from pipelines.artifacts import Problems, write_rows
from pipelines.contamination import Screen
from pipelines.curation import curate
from pipelines.funnel import tally, text, total
from pipelines.stages.sample import SampleConfig
from tests.pipelines import toy_stages
from tests.pipelines.toy_stages import PIPELINE

DOCS = Path(__file__).resolve().parents[2] / "docs"
STAGES = """\
stages:
  base: {use: model}
  problems: {use: problems}
  cold: {use: sft, from: {model: base, samples: problems.cold_start}}
"""
REASON = "  reason: {use: grpo, from: {model: cold, problems: problems.train}}\n"
FINDING = re.compile(r'Finding\(\s*(?:True|None|False), "([a-z ]+)"|^ +"([a-z ]+)",$', re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^(```+){language}\n(.*?)^\1$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [block for _, block in found]


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with this head."""
    lines = (DOCS / page).read_text().partition(f"| {head} |")[2].splitlines()[2:]
    rows = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("page", ["rejection-sampling.md", "held-out.md"])
def test_the_stages_shown_are_valid(page: str, tmp_path: Path) -> None:
    for i, shown in enumerate(blocks(page, "yaml")):
        reason = (
            "" if "  reason:" in shown else "  reason: {use: grpo, from: {model: cold, problems: problems.train}}\n"
        )
        (tmp_path / f"p{i}.yaml").write_text(STAGES + reason + shown)
        made = config.load(tmp_path / f"p{i}.yaml")
        assert set(yaml.safe_load(shown)) <= {node.name for node in made.nodes}


def harvested(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """A funnel with all filters that the page shows, over a few rows."""
    [shown] = [block for block in blocks("rejection-sampling.md", "yaml") if "harvest:" in block]
    settings = SampleConfig(**{**yaml.safe_load(shown)["harvest"]["with"], **more})
    write_rows(tmp_path, [{"id": "t", "prompt": "Compute 2+2."}])
    screen = Screen([Problems(tmp_path)], ngram=settings.ngram, near=settings.near)
    rows = [
        {"id": str(i), "prompt": "Add.", "completion": f"<think>so {i}</think>", "finish": "stop", "n_tokens": 3,
         "correct": i > 0, "reward": 1.0, "family": "math"} for i in range(3)
    ]  # fmt: skip
    before = screen.problems(rows)[1]
    kept, funnel = curate(rows, settings, screen.completions)
    return total([funnel], tally(rows, kept), before)


def test_the_filters_of_the_page_are_those_of_the_program_in_order(tmp_path: Path) -> None:
    funnel = harvested(tmp_path, max_kept_tokens=9, min_thinking=1, pass_rate=(0.1, 0.9))
    real = [f"{step['name']} (problems)" for step in funnel["problem_filters"]]
    real += [step["name"] for step in funnel["filters"]]
    told = [name for row in table("rejection-sampling.md", "filter") for name in re.findall(r"`([^`]+)`", row[0])]
    assert told == [name.removesuffix(" (problems)") for name in real]
    defaults = {name: field.get_default() for name, field in SampleConfig.model_fields.items()}
    for row in table("rejection-sampling.md", "filter"):
        for name, value in re.findall(r"`(\w+): ([^`]+)`", row[2]):
            default = defaults[name]
            shown = yaml.safe_load(value)
            assert shown == (list(default) if isinstance(default, tuple) else default), name


def test_the_funnel_of_the_page_looks_as_show_prints_it(tmp_path: Path) -> None:
    def labels(lines: list[str]) -> list[str]:
        named = [re.match(r" *[a-z][a-z -]*[a-z]|[0-9][0-9.-]*(?= )", line) for line in lines]
        return [found[0] for found in named if found and "e.g." not in found[0] and found[0].strip() != "e.g"]

    [shown] = [block for block in blocks("rejection-sampling.md", "console") if "harvest" in block]
    told = shown.partition("...\n\n")[2].splitlines()
    real = text(harvested(tmp_path)).splitlines()
    upto = [lines.index(next(line for line in lines if line.startswith("kept   "))) for lines in (told, real)]
    assert labels(told[: upto[0]]) == labels(real[: upto[1]])
    assert labels(told[upto[0] :])[:13] == labels(real[upto[1] :])[:13]


def test_the_held_out_knobs_and_lines_are_real() -> None:
    from rl.config import GrpoSettings
    from rl.heldout import SHOWN, TEMPERATURE, TOP_P

    for name, meaning, default in table("held-out.md", "knob"):
        shown = yaml.safe_load(default.partition(",")[0].strip("`"))
        assert GrpoSettings.model_fields[name.strip("`")].get_default() == shown
        assert name != "`eval_samples`" or f"temperature {TEMPERATURE}, top-p {TOP_P}" in meaning
    [shown] = blocks("held-out.md", "console")
    lines = [json.loads(f"{{{line}}}") for line in shown.splitlines()[1:]]
    assert [line["step"] for line in lines] == list(range(0, 17, 4)) and all(len(line) == 2 for line in lines)
    named = set(re.findall(r"`(heldout/\w+)`", (DOCS / "held-out.md").read_text()))
    assert named == {f"heldout/{name}" for name in (*SHOWN, "score", "reward")}


def test_the_events_of_the_page_are_what_a_run_prints(tmp_path: Path) -> None:
    named = [name for row in table("pipeline-file.md", "event") for name in re.findall(r"`(\w+)`", row[0])]
    kinds = re.findall(r"^    (\w+) {2,}", events.__doc__ or "", re.MULTILINE)
    assert sorted(named) == sorted(kinds)
    [shown] = [block for block in blocks("pipeline-file.md", "console") if "--log json" in block]
    (tmp_path / "toy.yaml").write_text(PIPELINE)
    command = [sys.executable, toy_stages.__file__, *shown.splitlines()[0].split()[2:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    def plain(line: str) -> str:
        return re.sub(r'"(time|key)": [^,}]+', r'"\1"', line)

    told = shown.splitlines()[1:]
    assert [plain(line) for line in told] == [plain(line) for line in done.stdout.splitlines()[: len(told)]]


def test_the_doctor_says_of_the_shipped_template_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli import main

    [shown] = blocks("doctor.md", "console")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--template", str(DOCS.parent / "models/tiny_base")])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == shown.splitlines()[1:]
    source = (DOCS.parent / "pipelines/template_lint.py").read_text()
    checks = list(
        dict.fromkeys(re.findall(r'Finding\(\s*(?:True|None|False), "([a-z ]+)"|^ +"([a-z ]+)",$', source, re.M))
    )
    named = {one or other for one, other in checks}
    assert {row[0].strip("`") for row in table("doctor.md", "check")} == named
