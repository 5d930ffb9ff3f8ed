"""The `eval` stage: an able and an ignorant model on the same problems."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.artifacts import Model, Problems, write_rows
from pipelines.stage import StageError
from pipelines.stages.eval import EvalConfig, eval
from tests.pipelines.taught import ENGINE, PROBLEMS, context, problems, read_json, taught_model, untrained

pytestmark = pytest.mark.xdist_group("taught")  # they share one trained model


def test_scores_tell_an_able_model_from_an_ignorant_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = {"base": untrained(tmp_path / "base"), "final": taught_model(tmp_path_factory)}
    ctx = context(tmp_path)
    made = eval(ctx, EvalConfig(**ENGINE, k=4), models=models, problems=[problems(tmp_path / "problems")])
    scores = read_json(made.path / "scores.json")
    assert list(scores["models"]) == ["base", "final"]
    base, final = scores["models"]["base"], scores["models"]["final"]
    assert base["pass@1"] == 0.0 and final["pass@1"] == 1.0
    assert final["pass@k"] == {"1": 1.0, "2": 1.0, "4": 1.0} and final["cons@k"] == 1.0
    assert final["ci95"][0] < 1.0 == final["ci95"][1] and final["stderr"] == 0.0
    assert (final["n_problems"], final["k"], final["finished"], final["ungraded"]) == (2, 4, 1.0, 0)
    assert final["families"].keys() == {"math"} and final["families"]["math"]["pass@1"] == 1.0
    protocol = scores["protocol"]
    assert (protocol["k"], protocol["temperature"], protocol["top_p"], protocol["max_tokens"]) == (4, 0.6, 0.95, 24)
    assert ctx.numbers == {"base": 0.0, "final": 1.0}
    rows = pq.read_table(made.path / "samples.parquet").to_pylist()
    assert len(rows) == 16 and sum(row["correct"] for row in rows if row["model"] == "final") == 8
    assert {"model", "id", "prompt", "completion", "family", "correct", "n_tokens", "finish"} <= rows[0].keys()


def test_greedy_and_a_limit(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = EvalConfig(**ENGINE, k=1, temperature=0, limit=1)
    models = {"final": taught_model(tmp_path_factory)}
    made = eval(context(tmp_path), config, models=models, problems=[problems(tmp_path / "problems")])
    assert read_json(made.path / "scores.json")["models"]["final"]["n_problems"] == 1


def test_a_killed_evaluation_goes_on_after_its_last_chunk(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = EvalConfig(**ENGINE, k=4, temperature=2.0, chunk=1)
    models, given = {"final": taught_model(tmp_path_factory)}, problems(tmp_path / "problems")
    whole = eval(context(tmp_path / "whole"), config, models=models, problems=[given])
    journal = (tmp_path / "whole/scratch/final.jsonl").read_text()
    first, second = journal.splitlines()
    half = context(tmp_path / "half")
    (half.scratch / "final.jsonl").write_text(first + "\n" + second[: len(second) // 2])  # killed while writing
    rest = eval(half, config, models=models, problems=[given])
    assert (rest.path / "samples.parquet").read_bytes() == (whole.path / "samples.parquet").read_bytes()
    assert (half.scratch / "final.jsonl").read_text() == journal


def test_a_flipped_bit_in_the_journal_is_told_and_drawn_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = EvalConfig(**ENGINE, k=4, temperature=2.0, chunk=1)
    models, given, ctx = {"final": taught_model(tmp_path_factory)}, problems(tmp_path / "problems"), context(tmp_path)
    whole = (eval(ctx, config, models=models, problems=[given]).path / "samples.parquet").read_bytes()
    journal = ctx.scratch / "final.jsonl"
    written = journal.read_text()
    journal.write_text(written[::-1].replace("think", "thinc", 1)[::-1].replace('"first": 1', '"first": 3'))
    ctx.console = Console(file=(out := io.StringIO()), width=200)
    assert (eval(ctx, config, models=models, problems=[given]).path / "samples.parquet").read_bytes() == whole
    assert f"{journal}: entry 2 of 2 is damaged: drawing again from problem 1 on" in out.getvalue()
    assert journal.read_text() == written


def test_problems_that_nothing_can_grade_are_told(tmp_path: Path) -> None:
    (tmp_path / "problems").mkdir()
    write_rows(tmp_path / "problems", [{**PROBLEMS[0], "answer": ""}])
    ctx, config = context(tmp_path), EvalConfig(**ENGINE | {"max_tokens": 2}, k=2)
    ctx.console = Console(file=(out := io.StringIO()), width=400)
    eval(ctx, config, models={"base": untrained(tmp_path / "base")}, problems=[Problems(tmp_path / "problems")])
    assert "warning: could not be graded, and count nowhere: 2 of 2 samples of base" in out.getvalue()
    assert ctx.numbers == {"base": None}


def test_one_id_for_two_problems_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    for name, prompt in (("a", "1+1?"), ("b", "2+2?")):
        write_rows(tmp_path / name, [{"id": "1", "prompt": prompt, "answer": "2"}])
    sets, models = [Problems(tmp_path / "a"), Problems(tmp_path / "b")], {"base": Model(tmp_path / "none")}
    with pytest.raises(StageError, match="id '1' is two different problems: make ids unique, or score each set"):
        eval(context(tmp_path), EvalConfig(**ENGINE), models=models, problems=sets)
