"""The `sample` stage on a model that knows its answers: provenance, funnel, resuming."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import journal as journals
from pipelines.artifacts import Model, Problems, read_rows, write_rows
from pipelines.stage import StageError
from pipelines.stages.sample import SampleConfig, sample
from tests.pipelines.taught import ENGINE, PROBLEMS, context, problems, read_json, taught_model, untrained

CONFIG = {**ENGINE, "n": 4, "temperature": 0.3}

pytestmark = pytest.mark.xdist_group("taught")  # they share one trained model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return taught_model(tmp_path_factory)


def test_correct_completions_are_kept_once_with_their_provenance(model: Model, tmp_path: Path) -> None:
    from pipelines.keys import path_digest

    ctx = context(tmp_path)
    made = sample(ctx, SampleConfig(**CONFIG), model=model, problems=problems(tmp_path / "problems"))
    rows = read_rows(made)
    assert [row["id"] for row in rows] == ["double", "half"]
    for row, problem in zip(rows, PROBLEMS, strict=True):
        assert row["completion"] == f"<think>twice</think><answer>{problem['answer']}</answer>"
        assert (row["prompt"], row["family"], row["system"]) == (problem["prompt"], "math", None)
        assert (row["reward"], row["rank"], row["correct"], row["finish"]) == (1.0, 0, True, "stop")
        assert row["model"] == path_digest(model.path) and len(row["model"]) == 64
    funnel = read_json(made.path / "funnel.json")
    assert funnel["input"] == 8 and funnel["kept"] == 2
    assert {step["name"]: step["dropped"] for step in funnel["filters"]}["duplicate"] == 6
    assert ctx.numbers == {"drawn": 8, "kept": 2, "problems": 2, "problems_kept": 2}


def test_a_killed_run_goes_on_after_its_last_chunk_and_draws_the_same(model: Model, tmp_path: Path) -> None:
    config = SampleConfig(**{**CONFIG, "temperature": 2.0, "chunk": 1, "keep": "all", "max_repetition": 1})
    given = problems(tmp_path / "problems")
    whole = read_rows(sample(context(tmp_path / "whole"), config, model=model, problems=given))
    journal = tmp_path / "whole/scratch/sample.jsonl"
    first, second = journal.read_text().splitlines()
    half = context(tmp_path / "half")
    (half.scratch / "sample.jsonl").write_text(first + "\n" + second[: len(second) // 2])  # killed while writing
    assert read_rows(sample(half, config, model=model, problems=given)) == whole
    assert (half.scratch / "sample.jsonl").read_text() == journal.read_text()
    third = context(tmp_path / "third")
    lines: list[Any] = journals.read(journal)
    lines[1]["groups"][0][0] = ["<think>from the journal</think>8", 9, "stop"]
    journals.rewrite(third.scratch / "sample.jsonl", lines)
    texts = [row["completion"] for row in read_rows(sample(third, config, model=model, problems=given))]
    assert "<think>from the journal</think>8" in texts  # a whole journal needs no engine


def test_a_flipped_bit_in_the_journal_is_told_and_drawn_again(model: Model, tmp_path: Path) -> None:
    config = SampleConfig(**{**CONFIG, "temperature": 2.0, "chunk": 1, "keep": "all", "max_repetition": 1})
    given = problems(tmp_path / "problems")
    ctx = context(tmp_path)
    whole = read_rows(sample(ctx, config, model=model, problems=given))
    journal = ctx.scratch / "sample.jsonl"
    written = journal.read_text()
    journal.write_text(written[::-1].replace("think", "thinc", 1)[::-1].replace('"first": 1', '"first": 3'))
    ctx.console = Console(file=(out := io.StringIO()), width=200)
    assert read_rows(sample(ctx, config, model=model, problems=given)) == whole
    assert f"{journal}: entry 2 of 2 is damaged: drawing again from problem 1 on" in out.getvalue()
    assert journal.read_text() == written


def test_nothing_left_says_which_filter_took_most(tmp_path: Path) -> None:
    base = untrained(tmp_path / "base")
    with pytest.raises(StageError, match="none of 8 completions is left; most fell to 'unfinished'"):
        sample(context(tmp_path), SampleConfig(**CONFIG), model=base, problems=problems(tmp_path / "problems"))


def test_a_context_that_is_too_short_and_no_problems_are_one_line(model: Model, tmp_path: Path) -> None:
    config = SampleConfig(**{**CONFIG, "max_tokens": 60})
    with pytest.raises(StageError, match=r"the model's context of 64: set max_tokens to at most \d+"):
        sample(context(tmp_path), config, model=model, problems=problems(tmp_path / "problems"))
    empty = Problems(tmp_path / "empty")
    write_rows(empty, [])
    with pytest.raises(StageError, match="there are no problems"):
        sample(context(tmp_path), config, model=model, problems=empty)


def test_what_cannot_work_is_said_before_the_run() -> None:
    from pipelines.stage import REGISTRY

    check = REGISTRY["sample"].check
    assert check is not None
    assert list(check(SampleConfig())) == []
    [fault] = check(SampleConfig(rewards={"format": 1.0}))
    assert "none of math, code is among the rewards" in fault
