"""Several vLLM engines in processes of their own: what they draw, what they are given, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.parallel_engine import EngineFailure, ParallelEngine, deal
from rollout.types import Rollout, SamplingParams
from rollout.vllm_engine import VllmOptions

BASE = Path(__file__).parents[2] / "models" / "tiny_base"
pytestmark = pytest.mark.xdist_group("parallel")

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17]]
OPTIONS = VllmOptions(max_model_len=128, max_num_seqs=16)
PARAMS = SamplingParams(max_tokens=24, seed=3)
ALONE = """
import json, sys
from rollout.types import SamplingParams
from rollout.vllm_engine import VllmEngine, VllmOptions

engine = VllmEngine(sys.argv[1], VllmOptions(max_model_len=128, max_num_seqs=16))
groups = engine.generate(json.loads(sys.argv[2]), SamplingParams(max_tokens=24, seed=3), 4)
print(json.dumps([[rollout.completion_ids for rollout in group] for group in groups]))
engine.close()
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[ParallelEngine]:
    engine = ParallelEngine(BASE, OPTIONS, replicas=2)
    folder, pids = engine._folder, [process._process.pid for process in engine._processes]
    yield engine
    engine.close()
    engine.close()
    assert not folder.exists() and not any(psutil.pid_exists(pid) for pid in pids)


def test_they_draw_what_one_engine_draws(pair: ParallelEngine) -> None:
    import json

    told: dict[int, Rollout] = {}
    groups = pair.generate(PROMPTS, PARAMS, 4, each=told.__setitem__)
    command = [sys.executable, "-c", ALONE, str(BASE), json.dumps(PROMPTS)]  # one in-process engine for each process
    alone = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert [[rollout.completion_ids for rollout in group] for group in groups] == alone
    assert [rollout.prompt_ids for group in groups for rollout in group] == [ids for ids in PROMPTS for _ in range(4)]
    assert [told[i] for i in range(12)] == [rollout for group in groups for rollout in group]


def test_fewer_prompts_than_processes(pair: ParallelEngine) -> None:
    [group] = pair.generate(PROMPTS[:1], PARAMS, 4)
    among = pair.generate(PROMPTS, PARAMS, 4)[0]  # log-probs may differ in their last bits
    assert [rollout.completion_ids for rollout in group] == [rollout.completion_ids for rollout in among]
    assert pair.generate([], PARAMS, 4) == []


def test_every_process_takes_the_weights_of_a_sync(pair: ParallelEngine) -> None:
    from models.checkpoint import load_model
    from models.zoo import update_all_tensors
    from rollout.canary import Canary, CanaryFailure

    model = load_model(BASE).eval()
    canary = Canary(model.config.vocab_size)
    pair.sync(model)
    before = canary.check(model, pair)
    assert before.tokens == 2 * 4 * 47
    update_all_tensors(model, 0.05, seed=1)
    with pytest.raises(CanaryFailure):
        canary.check(model, pair)
    pair.sync(model)
    assert canary.check(model, pair).max < 1e-3
    pair.sync(load_model(BASE).eval())
    assert not list(pair._folder.glob("weights-*"))


def test_a_draw_that_is_given_up_leaves_engines_that_work(pair: ParallelEngine) -> None:
    class Enough(Exception):
        pass

    def stop(place: int, rollout: Rollout) -> None:
        raise Enough

    first = pair.generate(PROMPTS, PARAMS, 4)
    with pytest.raises(Enough):
        pair.generate(PROMPTS * 20, SamplingParams(max_tokens=100, seed=1), 4, each=stop)
    assert pair.generate(PROMPTS, PARAMS, 4) == first


def test_a_process_that_is_killed_is_told_at_once() -> None:
    engine = ParallelEngine(BASE, OPTIONS, replicas=2)
    began = time.monotonic()

    def kill(place: int, rollout: Rollout) -> None:
        os.kill(engine._processes[1]._process.pid, signal.SIGKILL)

    with pytest.raises(EngineFailure, match="engine process 2 of 2 ended with status -9"):
        engine.generate(PROMPTS * 20, SamplingParams(max_tokens=100, seed=1), 4, each=kill)
    assert time.monotonic() - began < 30 and not engine._folder.exists()


PARENT = """
import sys
from rollout.parallel_engine import ParallelEngine
from rollout.types import SamplingParams
from rollout.vllm_engine import VllmOptions

engine = ParallelEngine(sys.argv[1], VllmOptions(max_model_len=128, max_num_seqs=16), replicas=2)
print(engine._folder, *(process._process.pid for process in engine._processes), flush=True)
engine.generate([[5, 6]] * 200, SamplingParams(max_tokens=100, seed=1), 4)
"""


def test_nothing_stays_behind_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(BASE)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folder, *pids = parent.stdout.readline().split()
        time.sleep(1)
        parent.kill()
    gone = time.monotonic() + 20
    while time.monotonic() < gone and (Path(folder).exists() or any(_runs(int(pid)) for pid in pids)):
        time.sleep(0.1)
    assert not Path(folder).exists() and not any(_runs(int(pid)) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_an_engine_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own reason: a package in the user's folder that has the name of one of ours is not taken for it."""
    (tmp_path / "rollout").mkdir()
    (tmp_path / "rollout" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(EngineFailure, match=r"engine process \d of 2 ended with status 1: .*nonsense"):
        ParallelEngine(tmp_path, OPTIONS, replicas=2)


def test_cores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    from rollout.process import share_of_cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for set_by_user, count, threads in (("", 2, 4), ("8", 2, 4), ("2", 2, 2), ("", 16, 1), ("odd", 4, 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
        assert share_of_cores(count) == threads


@given(lengths=st.lists(st.integers(0, 99), max_size=20), count=st.integers(1, 5))
def test_prompts_are_dealt_so_that_hands_are_alike(lengths: list[int], count: int) -> None:
    hands = deal([[0] * length for length in lengths], count)
    assert sorted(p for hand in hands for p in hand) == list(range(len(lengths)))
    sizes, tokens = zip(*((len(hand), sum(lengths[p] for p in hand)) for hand in hands), strict=True)
    assert max(sizes) - min(sizes) <= 1
    assert max(tokens) - min(tokens) <= max(lengths, default=0), "never apart by more than the longest one"
