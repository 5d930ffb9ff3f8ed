"""The page on the cold start says what is true of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines import config
from pipelines.curation import curate
from pipelines.funnel import tally, text, total
from pipelines.house_form import house_form
from pipelines.rewriting import ColdStartSettings
from pipelines.stages.cold_start import ColdStartConfig

PAGE = (Path(__file__).resolve().parents[2] / "docs/cold-start.md").read_text()
BEFORE = """
stages:
  base: {use: model}
  zero: {use: model}
  editor: {use: model}
  instruct: {use: model}
  problems: {use: problems}
"""


def blocks(language: str) -> list[str]:
    return [found[1] for found in re.findall(rf"^(```+){language}\n(.*?)^\1$", PAGE, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("shown", blocks("yaml"))
def test_the_stages_shown_are_valid(shown: str, tmp_path: Path) -> None:
    for name in ("chats.jsonl", "solved.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "p.yaml").write_text(BEFORE + shown)
    made = config.load(tmp_path / "p.yaml")
    assert set(yaml.safe_load(shown)) <= {node.name for node in made.nodes}


def test_the_rule_makes_what_is_shown() -> None:
    drawn, formed = blocks("text")
    assert house_form(drawn) == formed.strip()


def test_the_funnel_shown_has_the_filters_of_the_program_in_order() -> None:
    rows = [{"id": "a", "prompt": "Add.", "completion": "<think>so</think>", "finish": "stop", "n_tokens": 3,
             "correct": True, "reward": 1.0}]  # fmt: skip
    kept, funnel = curate(rows, ColdStartSettings(), lambda texts: [False] * len(texts))
    before = [{"name": "contaminated", "dropped": 0, "examples": []}]
    real = text(total([funnel], tally(rows, kept), before)).partition("kept ")[0]
    [shown] = blocks("console")
    names = re.compile(r"^ {2}([a-z][a-z ]+?) {2,}", re.MULTILINE)
    told = names.findall(shown)
    checks = ["rewrite unfinished", "not in house form", "rewrite not graded", "rewrite wrong"]
    assert told == names.findall(real) + checks
    source = (Path(__file__).resolve().parents[2] / "pipelines/rewriting.py").read_text()
    places = [source.index(f'"{name}"') for name in (checks[0], checks[1], checks[2], checks[3])]
    assert places == sorted(places)


def test_the_knobs_named_exist() -> None:
    for name in re.findall(r"`((?:min|max|writer)_\w+)`", PAGE):
        assert name in ColdStartConfig.model_fields, name
