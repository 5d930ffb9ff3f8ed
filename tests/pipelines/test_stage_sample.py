"""The `sample` stage on a model that knows its answers: provenance, funnel, resuming."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

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
        assert (row["sample"], row["seed"], row["shard"], row["pass_rate"]) == (0, 0, 0, 1.0)
        assert row["rewards"] == {"math": 1.0}
    funnel = read_json(made.path / "funnel.json")
    assert funnel["input"] == 8 and funnel["kept"] == 2
    assert {step["name"]: step["dropped"] for step in funnel["filters"]}["duplicate"] == 6
    assert funnel["pass_rates"]["1"] == 2 and funnel["kept_per_problem"] == {"1": 2}
    assert [
        (row["id"], row["drawn"], row["right"], row["kept"]) for row in read_rows(made.path / "problems.parquet")
    ] == [
        ("double", 4, 4, 1),
        ("half", 4, 4, 1),
    ]
    assert ctx.numbers["dropped/duplicate"] == 6 and ctx.numbers["dropped/wrong"] == 0
    assert {name: n for name, n in ctx.numbers.items() if "/" not in name} == {
        "drawn": 8,
        "kept": 2,
        "problems": 2,
        "problems_kept": 2,
        "contaminated": 0,
    }


WILD = SampleConfig(**{**CONFIG, "temperature": 2.0, "chunk": 1, "keep": "all", "max_repetition": 1})


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def test_a_killed_run_goes_on_after_its_last_shard_and_makes_the_same(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import drawing
    from pipelines.shards import Shards

    given = problems(tmp_path / "problems")
    whole = sample(context(tmp_path / "whole"), WILD, model=model, problems=given)
    write = Shards.write

    def killed(shards: Shards, index: int, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
        if index == 1:
            raise Killed
        write(shards, index, rows, about)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Shards, "write", killed)
        sample(context(tmp_path / "half"), WILD, model=model, problems=given)
    asked: list[int] = []
    draw_chunks = drawing.draw_chunks

    def counted(model: Path, rows: Any, draw: Any, config: Any, firsts: Iterable[int]) -> Any:
        asked.extend(firsts)
        return draw_chunks(model, rows, draw, config, asked)

    monkeypatch.setattr("pipelines.harvest.draw_chunks", counted)
    rest = sample(context(tmp_path / "half"), WILD, model=model, problems=given)
    assert asked == [1]  # the first shard was there
    for name in ("rows.parquet", "problems.parquet", "funnel.json"):
        assert (rest.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_damaged_shard_is_drawn_again(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    given, ctx = problems(tmp_path / "problems"), context(tmp_path)
    ctx.console = Console(width=160)
    whole = read_rows(sample(ctx, WILD, model=model, problems=given))
    for name, place in (("shard-00000.parquet", 40), ("shard-00001.json", 20)):
        content = bytearray((ctx.scratch / "shards" / name).read_bytes())
        content[place] ^= 1
        (ctx.scratch / "shards" / name).write_bytes(content)
    assert read_rows(sample(ctx, WILD, model=model, problems=given)) == whole
    told = capsys.readouterr().out
    assert "shard-00000.json: damaged, is made again" in told and "shard-00001.json: damaged" in told


def test_parts_of_the_problems_are_made_apart_and_lack_nothing(model: Model, tmp_path: Path) -> None:
    given = problems(tmp_path / "problems")
    made = [
        read_rows(sample(context(tmp_path / part[0]), SampleConfig(**CONFIG, part=part), model=model, problems=given))
        for part in ("1/2", "2/2")
    ]
    assert [[row["id"] for row in rows] for rows in made] == [["double"], ["half"]]
    with pytest.raises(ValueError, match="must be i/n with 1 <= i <= n, as in 2/4, not '3/2'"):
        SampleConfig(part="3/2")


def test_nothing_is_drawn_for_a_problem_of_the_evaluation_set(model: Model, tmp_path: Path) -> None:
    held = tmp_path / "held"
    write_rows(held, [{"id": "test-7", "prompt": "HALF of  12?"}])
    ctx = context(tmp_path)
    made = sample(
        ctx, SampleConfig(**CONFIG), model=model, problems=problems(tmp_path / "problems"), against=[Problems(held)]
    )
    assert [row["id"] for row in read_rows(made)] == ["double"]
    [dropped] = read_json(made.path / "funnel.json")["problem_filters"]
    assert dropped == {"name": "contaminated", "dropped": 1, "examples": ["exact of test-7: Half of 12?"]}
    assert ctx.numbers["contaminated"] == 1 and ctx.numbers["drawn"] == 4


def test_nothing_left_says_what_each_filter_took(tmp_path: Path) -> None:
    base = untrained(tmp_path / "base")
    with pytest.raises(StageError, match="none of 8 completions is left: 7 unfinished, 1 wrong"):
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
