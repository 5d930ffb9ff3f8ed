"""What a funnel adds up to, and how it is told; pieces on the disk; problems by difficulty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import Problems, Scores, read_rows, write_rows
from pipelines.contamination import Screen
from pipelines.funnel import histogram, tally, text, total
from pipelines.shards import Shards
from pipelines.stage import StageError
from pipelines.stages.select import SelectConfig, select
from tests.pipelines.taught import context


def rows(id: str, right: int, of: int, ungraded: int = 0) -> list[dict[str, Any]]:
    verdicts = [True] * right + [False] * (of - right) + [None] * ungraded
    return [{"id": id, "family": "math", "correct": verdict} for verdict in verdicts]


def test_a_histogram_tells_never_and_always_from_seldom_and_often() -> None:
    counts = histogram([0.0, 0.01, 0.1, 0.3, 7 / 10, 0.99, 1.0, 1.0, None])
    assert {name: n for name, n in counts.items() if n} == {
        "0": 1, "0-0.1": 2, "0.2-0.3": 1, "0.6-0.7": 1, "0.9-1": 1, "1": 2, "unknown": 1,
    }  # fmt: skip
    assert list(histogram([]))[:2] == ["0", "0-0.1"] and len(histogram([])) == 12


def test_problems_are_tallied_with_what_was_not_graded_apart() -> None:
    drawn = rows("a", 3, 4, ungraded=2) + rows("b", 0, 0, ungraded=1)
    assert tally(drawn, drawn[:2]) == [
        {"id": "a", "family": "math", "drawn": 6, "graded": 4, "right": 3, "pass_rate": 0.75, "kept": 2},
        {"id": "b", "family": "math", "drawn": 1, "graded": 0, "right": 0, "pass_rate": None, "kept": 0},
    ]


def test_shards_add_up_and_the_text_counts_down() -> None:
    part = {"input": 10, "filters": [{"name": "wrong", "dropped": 4, "examples": ["p\nc", "q"]}], "kept": 6}
    tallies = tally(rows("a", 6, 10) + rows("b", 0, 10), rows("a", 6, 6))
    before = [{"name": "contaminated", "dropped": 1, "examples": ["exact of t1: p"]}]
    funnel = total([part, {**part, "kept": 0}], tallies, before)
    assert (funnel["input"], funnel["kept"], funnel["problems"], funnel["problems_kept"]) == (20, 6, 2, 1)
    assert funnel["filters"] == [{"name": "wrong", "dropped": 8, "examples": ["p\nc", "q", "p\nc"]}]
    lines = text(funnel, examples=1).splitlines()
    assert lines[0].split() == ["problems", "3"]
    assert lines[1].split() == ["contaminated", "-1", "2", "left"]
    assert "  wrong                      -8  12 left" in lines and "      e.g. p c" in lines
    assert "0                  1  ########################" in lines


def test_a_shard_without_rows_and_columns_without_type_are_joined(tmp_path: Path) -> None:
    shards = Shards(tmp_path / "shards", print)
    shards.write(0, [{"id": "a", "system": None, "rewards": {"math": 1.0}}], {"n": 1})
    shards.write(1, [], {"n": 2})
    shards.write(2, [{"id": "b", "system": "You are.", "rewards": {"code": 1.0, "math": None}}], {"n": 3})
    assert [shards.read(i) for i in range(4)] == [{"n": 1}, {"n": 2}, {"n": 3}, None]
    shards.join(tmp_path, 3)
    assert read_rows(tmp_path) == [
        {"id": "a", "system": None, "rewards": {"math": 1.0, "code": None}},
        {"id": "b", "system": "You are.", "rewards": {"math": None, "code": 1.0}},
    ]


def test_the_screen_names_what_a_problem_repeats(tmp_path: Path) -> None:
    question = "A train leaves at noon and travels at sixty miles an hour for three hours; how far does it go?"
    write_rows(tmp_path, [{"id": "t1", "prompt": question}])
    screen = Screen([Problems(tmp_path)], ngram=10, near=0.8)
    asked = [{"id": "a", "prompt": f"Read this. {question}"}, {"id": "b", "prompt": "How far is the moon?"}]
    clean, [step] = screen.problems(asked)
    assert clean == asked[1:] and step["dropped"] == 1 and step["examples"][0].startswith("ngram of t1: Read this.")
    assert screen.completions([f"<think>{question} 180</think>", "<think>far</think>"]) == [True, False]


def scored(folder: Path, **rates: int) -> Scores:
    """An evaluation of 4 samples for each problem, `rates` of them right."""
    samples = [{"model": "cold", **row} for id, right in rates.items() for row in rows(id, right, 4)]
    write_rows(folder / "samples.parquet", samples)
    (folder / "scores.json").write_text(json.dumps({"models": {"cold": {}}}))
    return Scores(folder)


def test_problems_of_the_band_stay_with_their_pass_rate(tmp_path: Path) -> None:
    problems = Problems(tmp_path / "problems")
    write_rows(problems, [{"id": id, "prompt": f"p {id}", "answer": "1"} for id in "abcde"])
    scores, ctx = scored(tmp_path / "scores", a=0, b=1, c=3, d=4), context(tmp_path / "stage")
    made = select(ctx, SelectConfig(), problems=problems, scores=scores)
    assert read_rows(made) == [
        {"id": "b", "prompt": "p b", "answer": "1", "pass_rate": 0.25},
        {"id": "c", "prompt": "p c", "answer": "1", "pass_rate": 0.75},
    ]
    assert ctx.numbers == {"seen": 5, "kept": 2, "unmeasured": 1, "too_hard": 1, "too_easy": 1}
    told = json.loads((made.path / "selected.json").read_text())
    assert told["examples"] == {"unmeasured": ["p e"], "too_hard": ["p a"], "too_easy": ["p d"]}


def test_what_select_cannot_do_is_one_line(tmp_path: Path) -> None:
    problems, scores = Problems(tmp_path / "problems"), scored(tmp_path / "scores", a=0)
    write_rows(problems, [{"id": "a", "prompt": "p"}])
    with pytest.raises(StageError, match=r"none of 1 problems is in the band \[0.1, 0.9\]: .*'too_hard': 1"):
        select(context(tmp_path / "x"), SelectConfig(), problems=problems, scores=scores)
    with pytest.raises(StageError, match="model 'warm': the evaluation scored cold; name one of them"):
        select(context(tmp_path / "y"), SelectConfig(model="warm"), problems=problems, scores=scores)
    with pytest.raises(ValueError, match=r"pass_rate \[0.5, 2\] is no band"):
        SelectConfig(pass_rate=(0.5, 2))
