"""Measures beside right and wrong: their numbers by hand, where they are shown, and that they decide nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.artifacts import Model, read_rows, write_rows
from pipelines.evaluation import Judged, evaluate, interval, measures, normal_interval, wins
from pipelines.report import print_table, render
from pipelines.report_data import read_scores
from pipelines.report_measures import by_family, measured
from pipelines.show import content, run_text
from pipelines.stage import StageError
from pipelines.stages.eval import EvalConfig, eval
from tests.pipelines.report_run import make_run, seal
from tests.pipelines.taught import ENGINE, context, problems, read_json, taught_model, untrained


def chat(problem: str, *values: float | None, reward: str = "helpfulness") -> list[Judged]:
    """Open samples of one problem with a reward each; None: it does not apply."""
    found = [{} if value is None else {reward: value} for value in values]
    return [Judged(problem, "chat", None, 5, True, votes=False, open=True, measures=one) for one in found]


def test_every_problem_weighs_the_same_however_many_samples_have_the_measure() -> None:
    found = measures([*chat("a", 1.0, 0.5), *chat("b", 0.0, None), *chat("c", None, None)])
    assert found == {
        "helpfulness": {"mean": 0.375, "ci95": interval([0.75, 0.0], total=3), "n_problems": 2, "share": True}
    }


def test_values_beyond_0_to_1_get_the_normal_interval() -> None:
    found = measures([*chat("a", 3.0), *chat("b", 5.0)])["helpfulness"]
    assert found["mean"] == 4.0 and not found["share"]
    assert found["ci95"] == pytest.approx([4 - 1.959964, 4 + 1.959964])  # standard error sqrt(2/2) = 1
    assert normal_interval([3.0]) is None


def test_a_win_is_paired_by_problem_and_sample_and_a_tie_is_half() -> None:
    ours, theirs = [*chat("a", 1.0, 0.5), *chat("b", 0.0, 1.0)], [*chat("a", 0.5, 0.5), *chat("b", 0.5, None)]
    won = wins(ours, theirs, "helpfulness", "win")
    assert [one.measures.get("win") for one in won] == [1.0, 0.5, 0.0, None]
    assert measures(won)["win"]["mean"] == pytest.approx((0.75 + 0.0) / 2)
    with pytest.raises(AssertionError, match="paired"):
        wins(ours, chat("x", 1, 1, 1, 1), "helpfulness", "win")


def test_chat_is_neither_wrong_nor_an_error() -> None:
    right = Judged("m", "math", True, 5, True, vote="6", measures={"format": 1.0})
    scores = evaluate([right, *chat("a", 0.0), Judged("n", "math", None, 5, True)])
    assert (scores["pass@1"], scores["n_problems"], scores["ungraded"]) == (1.0, 1, 1)
    assert scores["families"]["chat"]["pass@1"] is None and scores["families"]["chat"]["ungraded"] == 0
    assert scores["families"]["chat"]["measures"]["helpfulness"]["mean"] == 0.0
    assert scores["families"]["math"]["measures"].keys() == {"format"}


@pytest.mark.xdist_group("taught")
def test_eval_measures_several_inputs_and_the_win_rate(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plugin = tmp_path / "short.py"
    plugin.write_text(
        "from rewards import Sample, reward\n@reward\ndef six(s: Sample):\n"
        "    return float('<answer>6<' in s.completion) if s.row.get('judge') == 'helpful' else None\n"
    )
    row: dict[str, Any] = {"id": "c", "prompt": "Double 3?", "answer": None, "family": "chat", "judge": "helpful"}
    write_rows(tmp_path / "chat", [row, row | {"id": "d"}])
    given = [problems(tmp_path / "problems"), type(problems(tmp_path / "p"))(tmp_path / "chat")]
    models = {"base": untrained(tmp_path / "base"), "final": taught_model(tmp_path_factory)}
    ctx = context(tmp_path)
    ctx.rewards = {"short.py": plugin}
    config = EvalConfig(**ENGINE, k=2, limit=1, report=("format", "six"), win={"reward": "six", "against": "base"})
    scores = read_json(eval(ctx, config, models=models, problems=given).path / "scores.json")
    final = scores["models"]["final"]
    assert (final["pass@1"], final["n_problems"], final["ungraded"]) == (1.0, 1, 0), "chat is not among the graded"
    assert {name: numbers["mean"] for name, numbers in final["measures"].items()} == {"format": 1, "six": 1, "win": 1}
    assert final["measures"]["format"]["n_problems"] == 2 and final["measures"]["six"]["n_problems"] == 1
    assert scores["models"]["base"]["measures"].keys() == {"format", "six"}, "no model is compared with itself"
    assert scores["protocol"]["win"] == {"reward": "six", "against": "base"}
    rows = read_rows(ctx.out / "samples.parquet")
    assert {(r["family"], r["correct"], r["reward"]) for r in rows if r["model"] == "final"} == {
        ("math", True, 1.0),
        ("chat", None, None),
    }


def test_a_win_over_an_unknown_model_or_by_an_unknown_reward_is_told_first(tmp_path: Path) -> None:
    config = EvalConfig(**ENGINE, report=("format",), win={"reward": "format", "against": "fnal"})
    with pytest.raises(StageError, match="win: no model is named 'fnal'; there are final"):
        eval(context(tmp_path), config, models={"final": Model(tmp_path)}, problems=[])
    from pipelines.stage import REGISTRY

    check = REGISTRY["eval"].check
    assert check is not None
    unknown = EvalConfig(**ENGINE, win={"reward": "charm", "against": "final"})
    assert any("'charm' is none of the rewards that are measured" in line for line in check(unknown))


@pytest.fixture
def run_with_measures(tmp_path: Path) -> Path:
    """A made-up run whose scores hold measures: a share in two families, a number, and a win rate."""
    folder = make_run(tmp_path / "demo")
    scores = json.loads((folder / "scores/scores.json").read_text())
    scores["protocol"]["win"] = {"reward": "helpfulness", "against": "final"}
    for i, numbers in enumerate(scores["models"].values()):
        share = {"mean": 0.25 * (i + 1), "ci95": [0.25 * i, 0.25 * i + 0.1], "n_problems": 8, "share": True}
        numbers["measures"] = {"format": share, "rm": {"mean": 2.5 - i, "ci95": [2.0, 3.0], "share": False}}
        if i < 3:
            numbers["measures"]["win"] = share
        for family in numbers["families"].values():
            family["measures"] = {"format": share}
        chat_numbers = {"pass@1": None, "n_problems": 0, "ungraded": 0, "measures": {"format": share}}
        numbers["families"]["chat"] = chat_numbers
    (folder / "scores/scores.json").write_text(json.dumps(scores))
    seal(folder)
    return folder


def test_measures_are_columns_of_the_page_and_chat_is_no_accuracy(run_with_measures: Path) -> None:
    page = render(run_with_measures).read_text()
    for title in ("format", "rm", "win vs final"):
        assert f'<th scope="col">{title}</th>' in page
    assert "25.0 ±5.0" in page and "2.5 ±0.5" in page and "Measures by family" in page
    assert "<figcaption>chat</figcaption>" not in page and "<figcaption>math</figcaption>" in page
    scores = read_scores(run_with_measures / "scores", "scores")
    assert scores is not None and scores.graded_families() == ["math", "code"]
    columns, rows = by_family(scores)
    assert columns == ["format, math", "format, code", "format, chat"] and rows[0] == ("base", ["25.0 ±5.0"] * 3)
    last = measured(scores.models, scores.protocol)[-1]
    assert last.title == "win vs final" and last.cell(scores.models["final"]) == ("–", "")


def test_measures_are_a_table_of_the_terminal_and_of_show(
    run_with_measures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(run_with_measures, Console(width=80))
    told = capsys.readouterr().out
    assert "measures ±95%, shares in % (scores)" in told and "75.0 ±5.0" in told
    record = json.loads((run_with_measures / "run.json").read_text())
    for name, entry in record["stages"].items():
        entry["artifact"] = name
    (run_with_measures / "run.json").write_text(json.dumps(record | {"file": "demo.yaml"}))
    shown = run_text(content(run_with_measures))
    assert "format %" in shown and "win vs final %" in shown and "100.0 ±5.0" in shown
