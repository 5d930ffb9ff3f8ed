"""Held-out evaluation inside GRPO: it changes nothing, keeps the best weights, stops in time, and survives a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoError, GrpoSettings
from rollout.types import Sample, Scored

ROWS = [{"id": str(i), "prompt": f"Count to {i}", "answer": str(i), "family": "math", "system": None} for i in range(4)]
DEV = [{**row, "id": f"dev-{row['id']}", "prompt": f"Count to {row['id']}0"} for row in ROWS]
SMALL = {"engine": "transformers", "prompts_per_step": 2, "group": 4, "max_tokens": 6, "lr": 3e-3, "save_every": 0}
EVAL = {"eval_every": 1, "eval_samples": 1}


class Curve:
    """Small letters are good in training; on held-out problems the share of right answers is read off a list."""

    def __init__(self, *shares: float) -> None:
        self.shares, self.evaluated = shares, 0

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        if str(samples_P_G[0][0].row["id"]).startswith("dev"):
            right = round(self.shares[self.evaluated] * len(samples_P_G))
            self.evaluated += 1
            total = [[float(p < right) for _ in group] for p, group in enumerate(samples_P_G)]
        else:
            total = [[sum(c.islower() for c in s.completion) / 50 for s in group] for group in samples_P_G]
        return Scored(total, {"math": total}, errors=0)  # type: ignore[arg-type]


def run(
    path: Path, out: Path, curve: Any, *, log: Any = None, dev: Any = DEV, watch: Any = None, say: Any = print,
    rows: Any = ROWS, **settings: Any,
) -> Any:  # fmt: skip
    from rl.grpo import train_grpo
    from rollout.hf_engine import HfEngine

    class Bar:
        def advance(self, n: int = 1, **fields: Any) -> None: ...

    lines: list[dict[str, float]] = []

    def keep(step: int, **numbers: Any) -> None:
        lines.append({"step": step, **numbers})
        if log is not None:
            log(lines[-1])

    summary = train_grpo(
        path, rows, GrpoSettings(**{**SMALL, **settings}), curve, out, seed=1, log=keep,
        progress=lambda description, total: Bar(), scratch=out.parent / f"scratch-{out.name}", dev=dev,
        watch=watch, say=say, engine=HfEngine(path),
    )  # fmt: skip
    return summary, lines


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_evaluating_changes_neither_samples_nor_weights(policy_path: Path, tmp_path: Path) -> None:
    plain = run(policy_path, tmp_path / "plain", Curve(), steps=3, dev=[])[1]
    summary, lines = run(policy_path, tmp_path / "watched", Curve(0.25, 0.5, 0.5, 1.0), steps=3, **EVAL)
    assert weights(tmp_path / "plain") == weights(tmp_path / "watched")
    steps = [line for line in lines if "loss" in line]
    assert [line["reward"] for line in steps] == [line["reward"] for line in plain]
    watched = [line for line in lines if "heldout/score" in line]
    assert [(line["step"], line["heldout/score"]) for line in watched] == [(0, 0.25), (1, 0.5), (2, 0.5), (3, 1.0)]
    assert all(line["canary_gap/max"] < 1e-4 for line in watched)  # the sync is the evaluation's, and so is its canary
    assert not any("canary_gap/max" in line for line in steps) and summary["canary_gap"] < 1e-4
    assert summary["heldout_first"] == 0.25 and summary["heldout_last"] == summary["heldout_best"] == 1.0
    assert summary["best_step"] == 3


def test_without_progress_it_stops_and_hands_on_the_best(policy_path: Path, tmp_path: Path) -> None:
    run(policy_path, tmp_path / "two", Curve(), steps=2, dev=[])
    curve = Curve(0.25, 0.25, 0.75, 0.75, 0.5, 1.0)
    summary, lines = run(policy_path, tmp_path / "best", curve, steps=9, patience=2, hand_on="best", **EVAL)
    assert (summary["steps"], summary["best_step"], summary["heldout_best"]) == (4, 2, 0.75)  # equal is not better
    assert max(line["step"] for line in lines) == 4 and curve.evaluated == 5
    assert weights(tmp_path / "best") == weights(tmp_path / "two")
    assert [folder.name for folder in (tmp_path / "scratch-best").glob("best-*")] == ["best-2"]
    last = run(policy_path, tmp_path / "last", Curve(0.25, 0.25, 0.75, 0.75, 0.5), steps=9, patience=2, **EVAL)[0]
    assert last["steps"] == 4 and weights(tmp_path / "last") != weights(tmp_path / "best")


def test_training_that_only_hurts_hands_on_what_it_began_with(policy_path: Path, tmp_path: Path) -> None:
    summary = run(policy_path, tmp_path / "out", Curve(0.5, 0.25, 0.25), steps=2, hand_on="best", **EVAL)[0]
    assert summary["best_step"] == 0 and weights(tmp_path / "out") == weights(policy_path)


def test_a_killed_run_decides_as_an_uninterrupted_one(policy_path: Path, tmp_path: Path) -> None:
    """Killed after step 3 was found better than the checkpoint of step 2 knows; later it stops at a checkpoint."""
    shares = (0.25, 0.5, 0.25, 0.75, 0.5, 0.5, 0.5)
    settings = {**EVAL, "steps": 9, "patience": 3, "hand_on": "best", "save_every": 2}
    whole = run(policy_path, tmp_path / "whole", Curve(*shares), **settings)[0]
    assert (whole["steps"], whole["best_step"]) == (6, 3)

    def kill(line: dict[str, float]) -> None:
        if line["step"] == 3 and "loss" in line:
            raise KeyboardInterrupt

    curve = Curve(*shares)
    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "rest", curve, log=kill, **settings)
    assert {folder.name for folder in (tmp_path / "scratch-rest").glob("best-*")} == {"best-1", "best-3"}
    curve.evaluated = 3  # where the checkpoint of step 2 goes on
    rest, lines = run(policy_path, tmp_path / "rest", curve, **settings)
    assert [line["step"] for line in lines if "heldout/score" in line] == [3, 4, 5, 6]
    assert (rest["steps"], rest["best_step"], rest["heldout_best"]) == (6, 3, 0.75)
    assert weights(tmp_path / "rest") == weights(tmp_path / "whole")
    # It had stopped at step 6, with a checkpoint, and was killed before it handed on: nothing is trained any more.
    again, lines = run(policy_path, (tmp_path / "rest").rename(tmp_path / "gone").with_name("rest"), curve, **settings)
    assert lines == [] and again["steps"] == 6 and weights(tmp_path / "rest") == weights(tmp_path / "whole")


def test_what_cannot_be_evaluated_is_said_at_once(policy_path: Path, tmp_path: Path) -> None:
    with pytest.raises(GrpoError, match=r"1 of 2 held-out problems are trained on, for example 3: give another dev"):
        run(policy_path, tmp_path / "out", Curve(), steps=1, dev=[DEV[0], ROWS[3]], **EVAL)
    with pytest.raises(GrpoError, match="eval_every needs held-out problems"):
        run(policy_path, tmp_path / "out", Curve(), steps=1, dev=[], **EVAL)
    with pytest.raises(GrpoError, match="never looked at: set eval_every"):
        run(policy_path, tmp_path / "out", Curve(), steps=1)
    with pytest.raises(ValueError, match="hand_on: best goes by evaluations on held-out problems: set eval_every"):
        GrpoSettings(hand_on="best")
    with pytest.raises(ValueError, match="patience: 3 goes by evaluations"):
        GrpoSettings(patience=3)


def test_damaged_best_weights_are_not_handed_on(policy_path: Path, tmp_path: Path) -> None:
    settings = {**EVAL, "steps": 2, "hand_on": "best", "save_every": 1}

    def flip(line: dict[str, float]) -> None:
        if line["step"] == 2 and "loss" in line:
            weights = tmp_path / "scratch-out/best-1/model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    with pytest.raises(GrpoError, match=r"the best weights, of step 1, are damaged: model.safetensors is not what"):
        run(policy_path, tmp_path / "out", Curve(0.25, 0.5, 0.25), log=flip, **settings)
    assert list((tmp_path / "scratch-out").glob("*-1")) == []
    assert run(policy_path, tmp_path / "out", Curve(0.25, 0.5, 0.25), **settings)[0]["best_step"] == 1
