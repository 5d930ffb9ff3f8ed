"""GRPO end to end through vLLM on a tiny random model: it learns, it resumes, it stops when it must."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.finite import DivergenceError
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


def interrupt_at(last: int) -> Any:
    """A log that ends the run after a step, as Ctrl-C would."""

    def log(step: int) -> None:
        if step == last:
            raise KeyboardInterrupt

    return log


def test_a_short_run_learns_and_logs_everything(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    from models.checkpoint import load_model

    summary, lines, bar = run(policy_path, tmp_path / "out", policy_engine, steps=12)
    assert [line["step"] for line in lines] == list(range(1, 13)) and bar.done == 12
    wanted = {
        "reward", "reward_std", "part/math", "accuracy", "accuracy/math", "length", "entropy", "kl", "clip_fraction",
        "grad_norm", "lr", "loss", "canary_gap/max", "canary_gap/mean", "seconds/sync", "seconds/generate",
        "seconds/score", "seconds/train", "finished", "zero_variance", "unscored", "router/max_vio/1",
        "ratio/min", "ratio/mean", "ratio/max", "mismatch/mean", "mismatch/max",
    }  # fmt: skip
    assert wanted <= lines[0].keys()
    assert all(line["canary_gap/max"] <= 1e-4 and line["unscored"] == 0.25 for line in lines)
    assert all(line["ratio/max"] == line["ratio/min"] == 1 and line["mismatch/max"] < 1e-4 for line in lines)
    assert lines[0]["kl"] == 0 and lines[-1]["kl"] > 0
    assert sum(line["reward"] for line in lines[-3:]) > sum(line["reward"] for line in lines[:3]) + 0.3
    assert summary["steps"] == 12 and summary["canary_gap"] <= 1e-4 and summary["reward_last"] > summary["reward_first"]
    load_model(tmp_path / "out")


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    """Off-policy mini-batches, a bias that moves, a reference that is replaced: all of it survives Ctrl-C. A run with
    its last checkpoint, in the middle of a batch of rollouts, takes no further step."""
    import torch

    from models.checkpoint import load_model

    settings = {
        "steps": 7,
        "minibatches": 2,
        "prompts_per_step": 2,
        "save_every": 3,
        "ref_every": 2,
        "router": "bias_update(0.01)",
    }
    whole = run(policy_path, tmp_path / "whole", policy_engine, scratch=tmp_path / "a", **settings)[1]

    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", log=interrupt_at(6), **settings)
    assert not (tmp_path / "rest").exists()
    rest = run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", **settings)[1]
    assert [line["step"] for line in rest] == [5, 6, 7]
    assert [line["reward"] for line in rest[::2]] == [line["reward"] for line in whole[4::2]]
    assert [line["kl"] for line in rest] == [line["kl"] for line in whole[4:]]
    ended = run(policy_path, tmp_path / "ended", policy_engine, scratch=tmp_path / "b", **settings)[1]
    assert ended == []
    first, *others = (load_model(tmp_path / name).state_dict() for name in ("whole", "rest", "ended"))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_the_canary_stops_the_run(
    policy_path: Path, policy_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rollout import reload
    from rollout.canary import CanaryFailure

    monkeypatch.setattr(reload, "fills_in_place", lambda runner: False)
    monkeypatch.setattr(reload, "reset_moe_kernels", lambda model: 0)
    with pytest.raises(CanaryFailure, match=r"at step 0: .*allowed 0.001 max"):
        run(policy_path, tmp_path / "out", policy_engine, steps=5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("lr", "when"), [(1e38, " after step 1"), (1e5, "")])
def test_a_policy_that_has_diverged_is_neither_drawn_from_nor_saved(
    policy_path: Path, policy_engine: Any, tmp_path: Path, lr: float, when: str
) -> None:
    """At once, or with the last update, after which there is no sync: TRL logs a NaN and goes on."""
    with pytest.raises(DivergenceError, match=f"the weights are not finite{when} "):
        run(policy_path, tmp_path / "out", policy_engine, steps=4, lr=lr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "v3.2"])
def test_every_algorithm_trains_off_policy(
    algorithm: str, policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    """Two mini-batches per rollout: the second one's ratio has left 1, and the log says so."""
    known = {"off_policy_mask": 0.5} if algorithm == "v3.2" else {}
    settings = {"algorithm": algorithm, "steps": 2, "minibatches": 2, "prompts_per_step": 2, **known}
    summary, lines, _ = run(policy_path, tmp_path / "out", policy_engine, **settings)
    assert len(lines) == 2 and summary["reward_last"] == lines[0]["reward"]  # the second update draws nothing
    assert all({"entropy", "clip_fraction", "ratio/mean", "mismatch/max"} <= line.keys() for line in lines)
    assert ("kl" in lines[1]) == (algorithm in ("grpo", "v3.2"))
    assert lines[0]["ratio/max"] == pytest.approx(1, abs=1e-4) and lines[1]["ratio/max"] > 1.001
    assert lines[0]["mismatch/max"] < 1e-4 and lines[1]["mismatch/max"] < 1e-4  # pi_old against mu: equal weights
    assert algorithm != "gspo" or lines[1]["clip_fraction"] > 0
    assert (lines[1].get("off_policy_masked") is not None) == (algorithm == "v3.2")


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({"correction": "token_truncate"}, 2.0),  # truncated importance sampling: min(3, 2)
        ({"correction": "token_mask"}, 0.0),  # 3 is above the cap of 2: masked
        ({"correction": "token_mask", "correction_cap": 5.0, "correction_floor": 0.5}, 3.0),  # IcePop's band
        ({"correction": "token_mask", "correction_cap": 9.0, "correction_floor": 5.0}, 0.0),  # below the floor
    ],
)
def test_importance_sampling_against_an_engine_that_is_off(
    settings: dict[str, Any], weight: float, policy_path: Path, tmp_path: Path
) -> None:
    """An engine whose log-probs of sampled tokens are ln 3 too low: pi_old / mu = 3 everywhere."""
    from rollout.hf_engine import HfEngine

    class Off(HfEngine):
        def generate(self, *args: Any, **how: Any) -> Any:
            groups = super().generate(*args)
            return [[replace(r, logprobs=[x - math.log(3) for x in r.logprobs]) for r in group] for group in groups]

    lines = run(policy_path, tmp_path / "out", Off(policy_path), steps=1, beta=0.0, **settings)[1]
    assert lines[0]["correction/mean"] == pytest.approx(weight, abs=1e-3)
    assert lines[0]["mismatch/mean"] == pytest.approx(math.log(3), abs=1e-3)
    assert (lines[0]["grad_norm"] > 0) == (weight > 0)


@pytest.mark.parametrize("settings", [
    {"correction": "token_truncate"},
    {"correction": "token_mask", "correction_floor": 0.9, "correction_cap": 1.1},
    {"correction": "sequence_truncate", "accumulate": 2},
    {"correction": "sequence_mask", "correction_cap": 1.2},
])  # fmt: skip
def test_the_first_update_corrects_without_a_pass_of_its_own(
    settings: dict[str, Any], policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass less, and the weights and the numbers of TRL's way, which runs one for pi_old."""
    import torch

    from models.checkpoint import load_model
    from rl import trainer
    from rollout.hf_engine import HfEngine

    class Noisy(HfEngine):
        def generate(self, *args: Any, **how: Any) -> Any:
            groups = super().generate(*args)
            moved = [[[x - 0.2 * math.sin(9 * x) for x in r.logprobs] for r in group] for group in groups]
            return [
                [replace(r, logprobs=m) for r, m in zip(*pair, strict=True)] for pair in zip(groups, moved, strict=True)
            ]

    passes = {True: 0, False: 0}
    ends, numbers = {}, {}
    for apart in (True, False):
        monkeypatch.setattr(GrpoSettings, "has_old_pass", property(lambda self, apart=apart: apart))
        monkeypatch.setattr(trainer, "completion_logprobs", counted(passes, apart, trainer.completion_logprobs))
        out, scratch = tmp_path / f"{apart}", tmp_path / f"{apart}-scratch"
        wanted = {"steps": 2, "beta": 0.001, "max_tokens": 12, **settings}  # with a KL every sample is run
        numbers[apart] = run(policy_path, out, Noisy(policy_path), scratch=scratch, **wanted)[1]
        ends[apart] = load_model(out).state_dict()
        monkeypatch.undo()
    assert passes[True] - passes[False] == 2, "one for each step"
    assert all(torch.allclose(ends[True][name], ends[False][name], atol=1e-6) for name in ends[True])
    assert numbers[False][1]["correction/mean"] == pytest.approx(numbers[True][1]["correction/mean"], abs=1e-5)


def counted(passes: dict[bool, int], key: bool, function: Any) -> Any:
    def count(*args: Any, **kwargs: Any) -> Any:
        passes[key] += 1
        return function(*args, **kwargs)

    return count


@pytest.mark.parametrize("correction", ["token_truncate", "sequence_mask"])
def test_the_correction_is_one_where_engine_and_trainer_agree(
    correction: str, policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    lines = run(policy_path, tmp_path / "out", policy_engine, steps=2, correction=correction)[1]
    assert lines[1]["mismatch/max"] < 1e-4 and lines[1]["correction/mean"] == pytest.approx(1, abs=1e-3)


def test_the_reference_is_replaced_on_time(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    """Every second step: the KL is 0 at steps 1, 3 and 5, right after the policy became its own reference."""
    lines = run(policy_path, tmp_path / "out", policy_engine, steps=5, ref_every=2)[1]
    assert [line["kl"] < 1e-9 for line in lines] == [True, False, True, False, True]


def test_without_a_reference_at_another_temperature(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    lines = run(policy_path, tmp_path / "out", policy_engine, steps=2, beta=0.0, temperature=0.8)[1]
    assert len(lines) == 2 and "kl" not in lines[0]


def test_refill_survives_an_interruption(policy_path: Path, tmp_path: Path) -> None:
    """The problems that come in are decided by seed and step: a resumed run draws the same ones."""
    from rollout.hf_engine import HfEngine

    settings = {"algorithm": "dapo", "steps": 3, "prompts_per_step": 2, "group": 4, "save_every": 1, "refill": 2}
    engine = HfEngine(policy_path)
    whole = run(policy_path, tmp_path / "whole", engine, scratch=tmp_path / "a", **settings)[1]

    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "rest", engine, scratch=tmp_path / "b", log=interrupt_at(2), **settings)
    rest = run(policy_path, tmp_path / "rest", engine, scratch=tmp_path / "b", **settings)[1]
    assert [line["reward"] for line in rest] == [line["reward"] for line in whole[-len(rest) :]] and len(rest) < 3
    assert all("refilled" in line for line in whole)


def test_settings_that_cannot_work_are_named(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"exceed the model's 512 positions: lower max_tokens to"):
        run(policy_path, tmp_path / "out", policy_engine, max_tokens=600)
    with pytest.raises(ValueError, match="accumulate 3 does not divide"):
        GrpoSettings(prompts_per_step=1, group=16, accumulate=3)
    with pytest.raises(ValueError, match="none of frozen"):
        GrpoSettings(router="melted")


def test_memory_that_runs_out_ends_in_one_line(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    import torch

    from rl.grpo import GrpoError

    def too_much(step: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")  # no GPU is needed to run out of one

    with pytest.raises(GrpoError, match=r"backward pass of 32 samples: raise accumulate \(1\)"):
        run(policy_path, tmp_path / "out", policy_engine, log=too_much, steps=1)


def test_sleep_without_a_gpu_is_refused(policy_path: Path, policy_engine: Any, tmp_path: Path) -> None:
    import torch

    from rl.grpo import GrpoError

    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(GrpoError, match="sleep: there is no GPU here"):
        run(policy_path, tmp_path / "out", policy_engine, sleep=True)
