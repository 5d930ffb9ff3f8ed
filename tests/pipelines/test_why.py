"""`r1 why`: each trouble is named from its numbers, and a good run has none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.why import findings
from tests.pipelines.report_run import make_run, write_json, write_lines


def rows(**curves: tuple[float, float]) -> list[dict[str, float]]:
    """Thirty steps in which each metric goes from its first value to its second."""
    steps = range(1, 31)
    return [{"step": s, **{name: a + (b - a) * (s - 1) / 29 for name, (a, b) in curves.items()}} for s in steps]


def told(run: Path, stage: str = "reason") -> list[str]:
    return [finding.what for finding in findings(run) if finding.stage == stage]


def test_nothing_stands_out_in_a_good_run(tmp_path: Path) -> None:
    assert findings(make_run(tmp_path / "run")) == []


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ({"accuracy": (0.0, 0.01), "part/format": (0.3, 0.6)}, "almost no answer is right, so nothing is reinforced"),
        (
            {"accuracy": (0.01, 0.0), "part/format": (0.8, 0.99), "length": (26, 13)},
            "the policy learnt the format and stopped trying",
        ),
        ({"accuracy": (0.6, 0.4)}, "accuracy fell"),
        ({"accuracy": (0.4, 0.41)}, "accuracy did not move"),
        (
            {"accuracy": (0.1, 0.2), "zero_variance": (0.6, 0.9)},
            "most groups teach nothing: all their samples are wrong",
        ),
        (
            {"accuracy": (0.5, 0.97), "zero_variance": (0.2, 0.9)},
            "most groups teach nothing: all their samples are right",
        ),
        ({"accuracy": (0.1, 0.3), "part/format": (0.2, 0.3)}, "most answers are not in the form that rewards read"),
        ({"finished": (0.9, 0.5)}, "many answers are cut off before they end"),
        ({"grading_errors": (0, 3)}, "the graders failed on some samples (these got no reward, not a zero)"),
        ({"unscored": (0.9, 0.9)}, "no reward applies to most samples"),
        ({"entropy": (1.2, 0.01)}, "the policy became nearly deterministic: its samples no longer differ"),
        ({"canary_gap/max": (1e-6, 0.2)}, "trainer and rollout engine disagree"),
        ({"kl": (0.0, 3.0)}, "the policy has gone far from its reference"),
        ({"router/max_vio": (0.5, 4.0)}, "the experts' load is drifting apart"),
        (
            {"heldout/score": (0.8, 0.5)},
            "the model was better on held-out problems before, and its last weights are handed on",
        ),
        ({"loss": (0.1, float("nan"))}, "the loss or the gradient is not a number"),
    ],
)
def test_each_trouble_of_reinforcement_learning(tmp_path: Path, curves: dict, said: str) -> None:
    run = make_run(tmp_path / "run")
    write_lines(run / "reason/metrics.jsonl", rows(**curves))
    assert told(run) == [said]


def test_troubles_of_the_other_stages(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_lines(run / "cold/metrics.jsonl", rows(loss=(2.0, 1.99)))
    filters = [{"name": "wrong", "dropped": 900}, {"name": "repetition", "dropped": 50}]
    write_json(run / "harvest/funnel.json", {"input": 1000, "filters": filters, "kept": 50})
    scores = json.loads((run / "scores/scores.json").read_text())
    scores["models"]["cold"] |= {"finished": 0.4, "ungraded": 40}
    write_json(run / "scores/scores.json", scores)
    content = json.loads((run / "run.json").read_text())
    content["stages"]["final"] |= {"status": "failed", "error": "the loss is not a number; lower lr"}
    write_json(run / "run.json", content)
    found = {finding.stage: finding for finding in findings(run)}
    assert found["cold"].what == "the loss hardly fell"
    assert found["harvest"].numbers == "50 of 1000; 900 fell to 'wrong'"
    assert found["final"].what == "failed" and "lower lr" in found["final"].numbers
    assert told(run, "scores") == ["answers of cold are cut off", "40 samples of cold could not be graded"]


def test_the_command_says_it_in_plain_words(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs/run")
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "why", "run", "--workdir", "runs"]
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.startswith("nothing stands out")
    write_lines(run / "reason/metrics.jsonl", rows(finished=(0.9, 0.5), length=(100, 300)))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout == (
        "reason: many answers are cut off before they end\n"
        "    seen: finished 0.886 -> 0.514 at max_tokens None, length 107 -> 293\n"
        "    try:  raise max_tokens; or mask_truncated, and a length reward that falls before the cut\n"
    )
