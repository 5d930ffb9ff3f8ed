"""Problems from a file of one's own: what cannot be used is one line that names its row, what is left out is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import config
from pipelines.artifacts import RowsError, read_rows, write_rows
from pipelines.context import Context
from pipelines.problems.items import split_of
from pipelines.problems.sources import FIRST_ROWS, SourceError, first_fault, read_source
from pipelines.source import ConfigError
from pipelines.stage import StageError
from pipelines.stages.problems import ProblemsConfig, ProblemSets, problems


def written(tmp_path: Path, *rows: object) -> Path:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return file


def made(tmp_path: Path, *rows: object, **settings: Any) -> tuple[ProblemSets, Context, list[str]]:
    """What the stage makes of these rows, its context, and what it said."""
    written(tmp_path, *rows)
    said: list[str] = []
    (tmp_path / "scratch").mkdir(exist_ok=True)
    ctx = Context(
        out=tmp_path / "out", seed=0, scratch=tmp_path / "scratch", base=tmp_path,
        listen=lambda event: said.append(event["text"]) if event["event"] == "message" else None,
    )  # fmt: skip
    return problems(ctx, ProblemsConfig(source="mine.jsonl", **settings)), ctx, said


def sums(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Compute {i}+1.", "answer": i + 1} for i in range(n)]


GOOD = {"prompt": "1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "?", "answer": ""}, "neither 'answer' nor 'tests'"),
        ({"prompt": "?", "answer": " \n"}, "neither 'answer' nor 'tests'"),
        ({"prompt": "?", "answer": [1]}, "answer is a list, must be text, a number, true or false"),
        ({"prompt": "?", "answer": {"x": 1}}, "answer is an object, must be"),
        ('{"prompt": "?", "answer": NaN}', "answer is nan, must be a finite number"),
        ('{"prompt": "?", "answer": 1e999}', "answer is inf, must be a finite number"),
        ({"prompt": 5, "answer": "2"}, "prompt is a number, must be text"),
        ({"prompt": ["a"], "answer": "2"}, "prompt is a list, must be text"),
        ({"prompt": "?", "system": 5, "answer": "2"}, "system is a number, must be text"),
        ({"prompt": "a\ud800", "answer": "2"}, r"prompt holds half a character ('\ud800', a lone surrogate)"),
        ({"messages": [{"role": "user", "content": "\udfff"}], "answer": "2"}, "messages holds half a character"),
        ({"prompt": "?", "answer": "2", "note": {"\ud800": 1}}, "note holds half a character"),
        ({"prompt": "?", "tests": "notjson"}, "tests are no JSON (Expecting value)"),
        ({"prompt": "?", "tests": {"type": "call", "fn_name": "f"}}, "tests cannot be run: call tests lack the field"),
        ({"prompt": "?", "tests": [1]}, "tests cannot be run: tests must be an object with a type, not list"),
        ({"prompt": "?", "tests": {"type": "stdin", "cases": ["a"]}}, "tests cannot be run"),
        ({"prompt": "?", "answer": "2", "level": "hard"}, "column 'level' is text, but in row 1 a number"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line_with_its_place(tmp_path: Path, row: object, told: str) -> None:
    file = written(tmp_path, GOOD | {"level": 3}, row)
    with pytest.raises(SourceError) as fault:
        list(read_source(str(file), columns={}, size=0, seed=0))
    assert str(fault.value).startswith(f"{file}, row 2: {told}") and "\n" not in str(fault.value)


@pytest.mark.parametrize("line", ['{"prompt": ' + "1" * 5000 + "}", "[" * 100_000], ids=["digits", "brackets"])
def test_json_that_python_does_not_read_is_one_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(SourceError, match=r"mine.jsonl:1: not JSON"):
        list(read_source(str(written(tmp_path, line)), columns={}, size=0, seed=0))


def test_one_id_is_one_question(tmp_path: Path) -> None:
    rows = [{"id": "x", "prompt": f"Q {i}", "answer": "1"} for i in range(60)]
    with pytest.raises(StageError, match=r"mine.jsonl, row 2: id 'x' is row 1's too, which asks something else"):
        made(tmp_path, *rows)
    again = [GOOD | {"id": 1}, GOOD | {"id": "1"}]
    assert len(list(read_source(str(written(tmp_path, *again)), columns={}, size=0, seed=0))) == 2


def test_what_a_row_may_hold(tmp_path: Path) -> None:
    tests = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
    rows = [
        {"prompt": "a", "answer": True},
        {"prompt": "b", "answer": 0.5, "tests": ""},
        {"prompt": "c", "answer": " ", "tests": tests | {"tolerance": None}},  # as Parquet fills a struct
        {"prompt": "d", "tests": json.dumps(tests)},
    ]
    found = list(read_source(str(written(tmp_path, *rows)), columns={}, size=0, seed=0))
    assert [row["answer"] for row in found] == ["True", "0.5", None, None]
    assert [row["tests"] and json.loads(row["tests"]) for row in found] == [None, None, tests, tests]


def test_repeats_are_counted_and_contradictions_told(tmp_path: Path) -> None:
    rows = sums(300)
    other = {"prompt": rows[7]["prompt"], "answer": "wrong"}
    sets, ctx, said = made(tmp_path, *rows, rows[3], other, n=50, dev=5, holdout=10)
    assert (ctx.numbers["repeats"], ctx.numbers["conflicting"]) == (2, 1)
    [line] = said
    assert line.startswith("mine.jsonl: rows left out that repeat") and "tests: 1 (the first is row 302;" in line
    assert "wrong" not in {row["answer"] for row in read_rows(sets.train)}
    _, ctx, said = made(tmp_path, *rows, n=50, dev=5, holdout=10)
    assert not {"repeats", "conflicting"} & ctx.numbers.keys() and not said


def test_a_split_shorter_than_asked_for_is_told(tmp_path: Path) -> None:
    rows = sums(300)
    there = sum(split_of(row["prompt"]) == "test" for row in rows)
    _, ctx, said = made(tmp_path, *rows, n=50, dev=5, holdout=100)
    assert said == [f"mine.jsonl has 300 problems, fewer than asked for: holdout: 100 gets {there}"]
    assert ctx.numbers["holdout"] == there


def test_a_file_too_small_for_a_split_says_how_many_rows_it_has(tmp_path: Path) -> None:
    few = [row for row in sums(40) if split_of(row["prompt"]) == "train"][:5]
    with pytest.raises(StageError, match=r"none of its 5 problems .* dev split: 10% go to test, 5% .* or set `dev: 0`"):
        made(tmp_path, *few)
    sets, *_ = made(tmp_path, *few, n=5, dev=0, holdout=0)
    assert len(read_rows(sets.train)) == 5 and read_rows(sets.holdout) == []


def test_an_empty_source_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"mine.jsonl has no rows"):
        made(tmp_path)


def test_values_of_several_types_name_their_column_and_row(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "note": {"x": i}} for i in range(9)]
    rows[6]["note"] = {"x": "six"}
    with pytest.raises(RowsError, match=r"column 'note', row 7 \(id r6\): .*write it the same way in all rows"):
        write_rows(tmp_path / "a", rows)
    with pytest.raises(RowsError, match="column 'big', row 2: "):
        write_rows(tmp_path / "a", [{"big": 1}, {"big": 1 << 70}])
    deep = [row | {"note": {"x": i if i % 2 else "text"}} for i, row in enumerate(sums(100))]
    with pytest.raises(StageError, match=r"^mine.jsonl: column 'note', row \d+ "):
        made(tmp_path, *deep)


def pipeline(tmp_path: Path, source: str) -> str:
    """The mistakes that reading a pipeline with this source tells, or nothing."""
    (tmp_path / "p.yaml").write_text(f"stages:\n  problems: {{use: problems, with: {{source: {source}}}}}\n")
    try:
        config.load(tmp_path / "p.yaml")
    except ConfigError as error:
        return str(error)
    return ""


def test_a_broken_file_is_told_when_the_pipeline_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD, '{"prompt": "b"')
    assert f"p.yaml:2: stages.problems.with: {file}:2: not JSON" in pipeline(tmp_path, "mine.jsonl")
    written(tmp_path, GOOD, {"prompt": 5})
    assert f"{file}, row 2: prompt is a number" in pipeline(tmp_path, "mine.jsonl")
    written(tmp_path)
    assert "mine.jsonl has no rows" in pipeline(tmp_path, "mine.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    assert "folder.jsonl is a folder, not a file" in pipeline(tmp_path, "folder.jsonl")
    (tmp_path / "t.parquet").write_bytes(b"no")
    assert "no Parquet file that can be read" in pipeline(tmp_path, "t.parquet")
    written(tmp_path, GOOD)
    write_rows(tmp_path / "t.parquet", [GOOD])
    assert not pipeline(tmp_path, "mine.jsonl") and not pipeline(tmp_path, "t.parquet")


def test_only_the_beginning_of_a_file_is_looked_at(tmp_path: Path) -> None:
    file = written(tmp_path, *sums(FIRST_ROWS), *["no json"] * 200_000)
    start = time.process_time()
    assert first_fault(file, {}) is None
    assert time.process_time() - start < 0.25
    big = written(tmp_path, *[row | {"note": "x" * 100_000} for row in sums(5)], "no json")
    assert first_fault(big, {}) is None
