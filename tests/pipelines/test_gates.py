"""`needs:`: a stage begins only where the scores allow it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import config
from pipelines.artifacts import write_rows
from pipelines.gates import Gate, judge, paired, sign_flip
from pipelines.source import ConfigError
from tests.pipelines.test_runner import ran, run, statuses
from tests.pipelines.toy_stages import PIPELINE

GATED = PIPELINE.replace("  page:", "  extra:    {use: toy-train, from: {model: reason}, needs: {NEEDS}}\n  page:")


def gated(needs: str) -> str:
    return GATED.replace("{NEEDS}", f"{{{needs}}}")


def test_a_closed_gate_stops_the_run_with_exit_code_3_and_keeps_everything(tmp_path: Path) -> None:
    code, output = run(tmp_path, text=gated('pass@1: ">= 0.6"'))
    assert code == 3 and "extra" not in ran(output)
    assert "Stopped before extra: reason pass@1 0.500 is not >= 0.6 (scores: scores)." in output
    assert "Kept: base, problems, cold, reason, scores" in output
    assert statuses(tmp_path)["extra"] == "stopped" and statuses(tmp_path)["reason"] == "done"
    code, output = run(tmp_path, text=gated('pass@1: ">= 0.4"'))
    assert code == 0 and ran(output) == ["extra", "page"]
    assert "needs met" in output and "reason pass@1 0.500 is >= 0.4" in output


def test_a_gate_is_asked_of_a_cached_stage_too_and_is_no_part_of_its_key(tmp_path: Path) -> None:
    assert run(tmp_path, text=gated("pass@1: 0.4"))[0] == 0
    assert ran(run(tmp_path, text=gated("pass@1: 0.5"))[1]) == []
    assert run(tmp_path, text=gated("pass@1: 0.6"))[0] == 3


def test_until_makes_the_scores_that_a_gate_reads(tmp_path: Path) -> None:
    code, output = run(tmp_path, text=gated("pass@1: 0.4"), until="extra")
    assert code == 0 and "scores" in ran(output) and "page" not in ran(output)


def test_an_unknown_family_is_a_failure_with_what_there_is(tmp_path: Path) -> None:
    code, output = run(tmp_path, text=gated("math/pass@1: 0.4"))
    assert code == 1 and "needs: math/pass@1: no family math" in output


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ("pass@one: 0.5", "needs.pass@one: unknown key (did you mean pass@1?)"),
        ("pass@1: much", "needs.pass@1: must be a bound, not 'much' (for example \">= 0.6\")"),
        ("p: 0.1", "needs.pass@1: nothing is asked"),
        ("vs: colt", "needs.scores: no eval stage scores reason and colt (scored: base, cold, reason)"),
        ("vs: cold, p: 2", "needs.p: must be between 0 and 1, not 2"),
        ("vs: cold, scores: score", "needs.scores: `score` is no eval stage of this file (did you mean scores?)"),
        ("pass@1: 0.5, vs: ", "needs.vs: must be a name, not empty"),
        ("pass@1: 0.5, vs: [cold]", "needs.vs: must be a name, not a list"),
        ("pass@1: 0.5, scores: [scores]", "needs.scores: must be a name, not a list"),
        ("0.6: pass@1", "needs.0.6: unknown key"),
        ("vs: colt, scores: scores", "needs.vs: `scores` does not score colt (did you mean cold?)"),
    ],
)
def test_mistakes_in_a_gate_are_found_before_anything_runs(tmp_path: Path, needs: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(gated(needs))
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "p.yaml")
    assert [line for line in caught.value.lines if said in line], caught.value.lines


def test_a_gate_on_its_own_scores_goes_in_a_circle(tmp_path: Path) -> None:
    text = PIPELINE.replace(
        "cold:     {use: toy-train,", "cold:     {needs: {model: reason, pass@1: 1}, use: toy-train,"
    )
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match="goes in a circle"):
        config.load(tmp_path / "p.yaml")


def scores(folder: Path, right: dict[str, list[list[bool]]]) -> Path:
    """Scores of models with, for each problem, the verdicts of its samples."""
    models = {name: {"pass@1": 0.5, "pass@k": {"1": 0.5, "2": 0.75}, "families": {}} for name in right}
    (folder / "scores.json").write_text(json.dumps({"models": models}))
    rows = [
        {"model": name, "id": str(i), "correct": verdict}
        for name, problems in right.items()
        for i, verdicts in enumerate(problems)
        for verdict in verdicts
    ]
    write_rows(folder / "samples.parquet", rows)
    return folder


def test_better_than_another_model_on_the_same_problems(tmp_path: Path) -> None:
    right = {"new": [[True, True]] * 5 + [[True, False]], "old": [[False, False]] * 5 + [[True, False]]}
    folder = scores(tmp_path, right)
    verdict = judge(Gate("scores", "new", {"pass@2": (">=", 0.7)}, "old", 0.05), folder)
    assert verdict.passed
    assert verdict.lines == [
        "new pass@2 0.750 is >= 0.7", "new is better than old: +83.3 points on 6 problems, p 0.031 <= 0.05"
    ]  # fmt: skip
    turned = judge(Gate("scores", "old", {}, "new", 0.05), folder)
    assert not turned.passed and "old is not better than new: -83.3 points" in str(turned)
    with pytest.raises(KeyError, match="the scores hold pass@1, pass@2"):
        judge(Gate("scores", "new", {"pass@64": (">=", 0.1)}, None, 0.05), folder)


def test_ungraded_samples_and_problems_of_one_side_do_not_count(tmp_path: Path) -> None:
    rows = [
        {"model": "a", "id": "1", "correct": True}, {"model": "a", "id": "1", "correct": None},
        {"model": "b", "id": "1", "correct": False}, {"model": "a", "id": "2", "correct": True},
    ]  # fmt: skip
    assert paired(rows, "a", "b") == (1.0, 0.5, 1)
    assert paired(rows, "b", "c") == (0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("gaps", "p"),
    [
        ([1, 1, 1], 1 / 8),
        ([1, -1], 3 / 4),
        ([2, 1, -1], 3 / 8),
        ([], 1.0),
        ([0, 0], 1.0),
        ([-3], 1.0),
        ([840] * 10, 2**-10),
    ],
)
def test_sign_flip_by_hand(gaps: list[int], p: float) -> None:
    assert sign_flip(gaps) == pytest.approx(p)


@settings(deadline=None, max_examples=50)
@given(gaps=st.lists(st.integers(-20, 20), max_size=9))
def test_sign_flip_counts_all_signs(gaps: list[int]) -> None:
    sums = [
        sum(s * g for s, g in zip(signs, gaps, strict=True)) for signs in itertools.product((1, -1), repeat=len(gaps))
    ]
    assert sign_flip(gaps) == pytest.approx(sum(value >= sum(gaps) for value in sums) / len(sums))
