"""GRPO end to end through vLLM on a tiny random model: it learns, it resumes, it stops when it must."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoSettings
from rollout.types import Sample, Scored

pytestmark = pytest.mark.xdist_group("vllm")

ROWS = [{"id": str(i), "prompt": f"Count to {i}", "answer": str(i), "family": "math", "system": None} for i in range(8)]
SMALL = {"prompts_per_step": 4, "group": 8, "max_tokens": 8, "lr": 3e-3, "save_every": 0}


class Bar:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, n: int = 1, **fields: Any) -> None:
        self.done += n


def letters_are_good(samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
    """Share of small letters among the characters written; every fourth sample of a group is not graded."""

    def share(text: str) -> float:
        return sum("a" <= c <= "z" for c in text) / max(len(text), 1)

    total = [[None if i % 4 == 3 else share(s.completion) for i, s in enumerate(group)] for group in samples_P_G]
    return Scored(total, {"math": total}, errors=0)  # type: ignore[arg-type]


def run(path: Path, out: Path, engine: Any, *, log: Any = None, scratch: Path | None = None, **settings: Any) -> Any:
    from rl.grpo import train_grpo

    lines: list[dict[str, float]] = []

    def keep(step: int, **numbers: Any) -> None:
        lines.append({"step": step, **numbers})
        if log is not None:
            log(step)

    bar = Bar()
    summary = train_grpo(
        path, ROWS, GrpoSettings(**{**SMALL, **settings}), letters_are_good, out, seed=1, log=keep,
        progress=lambda description, total: bar, scratch=scratch or out.parent / "scratch", engine=engine,
    )  # fmt: skip
    return summary, lines, bar


def test_a_short_run_learns_and_logs_everything(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    from models.checkpoint import load_model

    summary, lines, bar = run(policy_path, tmp_path / "out", policy_engine, steps=12)
    assert [line["step"] for line in lines] == list(range(1, 13)) and bar.done == 12
    wanted = {
        "reward", "reward_std", "part/math", "accuracy", "accuracy/math", "length", "entropy", "kl", "clip_fraction",
        "grad_norm", "lr", "loss", "canary_gap/max", "canary_gap/mean", "seconds/sync", "seconds/generate",
        "seconds/score", "seconds/train", "finished", "zero_variance", "unscored", "router/max_vio/1",
    }  # fmt: skip
    assert wanted <= lines[0].keys()
    assert all(line["canary_gap/max"] <= 1e-4 and line["unscored"] == 0.25 for line in lines)
    assert lines[0]["kl"] == 0 and lines[-1]["kl"] > 0
    assert sum(line["reward"] for line in lines[-3:]) > sum(line["reward"] for line in lines[:3]) + 0.3
    assert summary["steps"] == 12 and summary["canary_gap"] <= 1e-4 and summary["reward_last"] > summary["reward_first"]
    load_model(tmp_path / "out")


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    """Off-policy mini-batches, a bias that moves, a reference that is replaced: all of it survives Ctrl-C."""
    import torch

    from models.checkpoint import load_model

    settings = {
        "steps": 8,
        "minibatches": 2,
        "prompts_per_step": 2,
        "save_every": 3,
        "ref_every": 2,
        "router": "bias_update(0.01)",
    }
    whole = run(policy_path, tmp_path / "whole", policy_engine, scratch=tmp_path / "a", **settings)[1]

    def interrupt(step: int) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", log=interrupt, **settings)
    assert not (tmp_path / "rest").exists()
    rest = run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", **settings)[1]
    assert [line["step"] for line in rest] == [5, 6, 7, 8]
    assert [line["reward"] for line in rest[::2]] == [line["reward"] for line in whole[4::2]]
    assert [line["kl"] for line in rest] == pytest.approx([line["kl"] for line in whole[4:]], abs=1e-6)
    first, second = (load_model(tmp_path / name).state_dict() for name in ("whole", "rest"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_the_canary_stops_the_run(
    policy_path: Path, policy_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rollout.canary import CanaryFailure
    from rollout.weights import SyncExtension

    monkeypatch.setattr(SyncExtension, "repack_experts", False)
    with pytest.raises(CanaryFailure, match=r"at step 0: .*allowed 0.001 max"):
        run(policy_path, tmp_path / "out", policy_engine, steps=5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "settings",
    [{"correction": "token_truncate"}, {"correction": "sequence_mask", "temperature": 0.8}, {"beta": 0.0}],
)
def test_variants_run(policy_path: Path, policy_engine: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    lines = run(policy_path, tmp_path / "out", policy_engine, steps=2, **settings)[1]
    assert len(lines) == 2
    if settings.get("correction") == "token_truncate":
        assert lines[1]["mismatch/max"] < 1e-4 and lines[1]["correction/mean"] == pytest.approx(1, abs=1e-4)


def test_settings_that_cannot_work_are_named(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"exceed the model's 512 positions: lower max_tokens to"):
        run(policy_path, tmp_path / "out", policy_engine, max_tokens=600)
    with pytest.raises(ValueError, match="accumulate 3 does not divide"):
        GrpoSettings(prompts_per_step=1, group=16, accumulate=3)
    with pytest.raises(ValueError, match="none of frozen"):
        GrpoSettings(router="melted")
