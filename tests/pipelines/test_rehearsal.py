"""`rehearsal`: a model's own texts become samples that `sft` learns as texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.chat import render_prompt, render_sample
from models.checkpoint import load_tokenizer
from pipelines.artifacts import Samples, read_rows
from pipelines.stages.rehearsal import OPENINGS, RehearsalConfig, _check, rehearsal
from pipelines.stages.sft import SftConfig, sft
from tests.pipelines.taught import context, untrained

BASE = Path(__file__).parents[2] / "models" / "tiny_base"


def test_texts_begin_with_their_openings_and_are_trained_on(tmp_path: Path) -> None:
    model = untrained(tmp_path / "base")
    ctx = context(tmp_path / "texts", seed=3)
    made = rehearsal(
        ctx, RehearsalConfig(n=5, max_tokens=8, openings=("Half", "Double"), engine="transformers"), model=model
    )
    rows = list(read_rows(made))
    assert [row["prompt"] for row in rows] == ["Half", "Double", "Half", "Double", "Half"]
    assert len({row["completion"] for row in rows}) > 1 and ctx.numbers["kept"] == 5
    ctx = context(tmp_path / "sft")
    sft(ctx, SftConfig(epochs=1, batch=5, log_every=1), model=model, samples=[Samples(made.path)])
    assert ctx.numbers["rows"] == 5


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_a_text_is_rendered_without_turns(template: Any) -> None:
    tokenizer = load_tokenizer(BASE)
    row = {"id": "a", "prompt": "Compute", "completion": " 4+5.", "raw": True, "finish": "stop"}
    prompt, completion = render_sample(tokenizer, row, template)
    assert prompt == render_prompt(tokenizer, row, template) == tokenizer.encode("Compute")
    assert completion == [*tokenizer.encode(" 4+5.", add_special_tokens=False), tokenizer.eos_token_id]


def test_a_text_that_was_cut_off_does_not_learn_to_end() -> None:
    tokenizer = load_tokenizer(BASE)
    row = {"id": "a", "prompt": "Compute", "completion": " 4+5.", "raw": True, "finish": "length"}
    assert render_sample(tokenizer, row)[1] == tokenizer.encode(" 4+5.", add_special_tokens=False)


def test_a_column_raw_of_other_content_changes_nothing() -> None:
    tokenizer = load_tokenizer(BASE)
    row = {"id": "a", "prompt": "Compute 4+5.", "system": None}
    assert render_prompt(tokenizer, {**row, "raw": "4+5"}) == render_prompt(tokenizer, row)


def test_an_empty_opening_is_refused_before_any_work() -> None:
    assert len(OPENINGS) == len(set(OPENINGS)) == 40
    assert not list(_check(RehearsalConfig()))
    assert "one of them is empty" in next(iter(_check(RehearsalConfig(openings=("The", " ")))))
