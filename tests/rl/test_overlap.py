"""`overlap: true`: the next batch is drawn while this one trains, and everything else stays as it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rl.ahead import Ahead
from rl.config import GrpoSettings
from rollout.types import SamplingParams
from tests.rl.test_grpo import ROWS, SMALL, interrupt_at, letters_are_good, run

pytestmark = pytest.mark.xdist_group("vllm")
OVERLAP = {"overlap": True, "beta": 0.0}


class Watched:
    """An engine that notes by whom it is asked, after how many syncs, and that it is asked one thing at a time."""

    def __init__(self, engine: Any, fails_at: int = 0) -> None:
        self._engine, self._busy, self._fails_at = engine, threading.Lock(), fails_at
        self.syncs = 0
        self.drawn: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if not callable(found):
            return found

        def ask(*args: Any, **kwargs: Any) -> Any:
            assert self._busy.acquire(blocking=False), f"{name} was asked while the engine was busy"
            try:
                self.syncs += name == "sync"
                if name == "generate":
                    ahead = threading.current_thread().name.startswith("rollout-ahead")
                    self.drawn.append(("ahead" if ahead else "now", self.syncs))
                    if len(self.drawn) == self._fails_at:
                        from rollout.server import EngineFailure

                        raise EngineFailure("the engine is gone")
                return found(*args, **kwargs)
            finally:
                self._busy.release()

        return ask


def test_each_batch_is_drawn_with_the_weights_of_one_before(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    engine = Watched(policy_engine)
    lines = run(policy_path, tmp_path / "out", engine, steps=4, **OVERLAP)[1]
    assert engine.drawn == [("now", 1), ("ahead", 1), ("ahead", 2), ("ahead", 3)]
    assert [line["stale"] for line in lines] == [0, 1, 1, 1]
    assert "mismatch/max" in lines[0] and "mismatch/max" not in lines[1]  # that compares equal weights
    assert lines[0]["correction/max"] == pytest.approx(1, abs=1e-3) and lines[1]["correction/max"] > 1.001
    assert all(line["canary_gap/max"] <= 1e-4 for line in lines)  # every sync is watched as ever
    alone = run(policy_path, tmp_path / "alone", policy_engine, steps=1, beta=0.0, scratch=tmp_path / "b")[1]
    assert lines[0]["reward"] == alone[0]["reward"]


def test_the_policy_still_learns(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    lines = run(policy_path, tmp_path / "out", policy_engine, steps=14, **OVERLAP)[1]
    assert sum(line["reward"] for line in lines[-3:]) > sum(line["reward"] for line in lines[:3]) + 0.3


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    """No batch is drawn ahead across a checkpoint: it holds no rollouts."""
    import torch

    from models.checkpoint import load_model

    settings = {**OVERLAP, "steps": 8, "minibatches": 2, "prompts_per_step": 2, "save_every": 4}
    engine = Watched(policy_engine)
    whole = run(policy_path, tmp_path / "whole", engine, scratch=tmp_path / "a", **settings)[1]
    assert [how for how, _ in engine.drawn] == ["now", "ahead", "now", "ahead"]
    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", log=interrupt_at(5), **settings)
    rest = run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", **settings)[1]
    assert [line["step"] for line in rest] == [5, 6, 7, 8]
    assert [line["loss"] for line in rest] == [line["loss"] for line in whole[4:]]
    first, other = (load_model(tmp_path / name).state_dict() for name in ("whole", "rest"))
    assert all(torch.equal(first[name], other[name]) for name in first)


def test_an_evaluation_waits_for_the_batch_drawn_ahead(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    from rl.grpo import train_grpo
    from tests.rl.test_grpo import Bar

    settings = GrpoSettings(**{**SMALL, **OVERLAP, "steps": 3, "eval_every": 1, "eval_samples": 2})
    summary = train_grpo(
        policy_path, ROWS[:6], settings, letters_are_good, tmp_path / "out", seed=1, log=lambda step, **numbers: None,
        progress=lambda text, total: Bar(), scratch=tmp_path / "s", dev=ROWS[6:], engine=Watched(policy_engine),  # type: ignore[arg-type]
    )  # fmt: skip
    assert summary["steps"] == 3 and "heldout_best" in summary


def test_a_failure_of_the_batch_drawn_ahead_ends_the_run_with_its_steps_saved(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    from rollout.server import EngineFailure

    with pytest.raises(EngineFailure, match=r"the engine is gone \(step 2 is saved"):
        run(policy_path, tmp_path / "out", Watched(policy_engine, fails_at=3), steps=5, save_every=50, **OVERLAP)


def test_what_is_drawn_ahead_is_weighed_against_its_engine() -> None:
    assert GrpoSettings(overlap=True).correction == "token_truncate"
    assert GrpoSettings(overlap=True, correction="sequence_mask").correction == "sequence_mask"
    with pytest.raises(ValidationError, match="set correction: token_truncate"):
        GrpoSettings(overlap=True, correction="off")
    with pytest.raises(ValidationError, match="raise it above 4"):
        GrpoSettings(overlap=True, minibatches=4, save_every=3)
    with pytest.raises(ValidationError, match="leave one of them out"):
        GrpoSettings(overlap=True, algorithm="v3.2", off_policy_mask=0.5)


def test_an_interrupted_run_leaves_nothing_at_work(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    engine = Watched(policy_engine)
    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "out", engine, log=interrupt_at(2), steps=9, refill=3, **OVERLAP)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rollout-ahead")]
    drawn = len(engine.drawn)
    engine.generate([[5, 6]], SamplingParams(max_tokens=2, seed=0), 2)  # it is free
    assert len(engine.drawn) == drawn + 1


def test_work_is_taken_once_and_its_failure_comes_with_it() -> None:
    ahead: Ahead[int] = Ahead()
    assert ahead.take() is None
    ahead.start(lambda: 3)
    ahead.wait()
    assert (ahead.take(), ahead.take()) == (3, None)
    ahead.start(lambda: 1 // 0)
    ahead.wait()
    with pytest.raises(ZeroDivisionError):
        ahead.take()
    ahead.close()


@pytest.mark.parametrize(
    ("knobs", "threads"),
    [
        ({"replicas": 2}, 4),
        ({"replicas": 2, "overlap": True}, 2),
        ({"replicas": 2, "overlap": True, "engine": "server"}, 2),
        ({"overlap": True}, 4),
        ({"overlap": True, "engine": "server", "server_urls": [f"http://localhost:{i}" for i in (1, 2, 3, 4)]}, 1),
    ],
)
def test_the_trainer_leaves_cores_to_processes_that_draw_meanwhile(
    knobs: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from rl.grpo import _sharing_cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with _sharing_cores(GrpoSettings(**{"engine": "vllm", "save_every": 10, **knobs})):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
