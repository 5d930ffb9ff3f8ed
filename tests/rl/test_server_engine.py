"""`engine: server` on real `vllm serve` processes: two replicas for the whole file, killed, stopped and joined."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollout.server import EngineFailure
from rollout.types import SamplingParams
from tests.rl.test_grpo import run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("servers")

SIZES = {"max_model_len": 128, "max_num_seqs": 32}
PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17], [8]]
LONG = {"steps": 3, "max_tokens": 96, "group": 16, "save_every": 0}


@pytest.fixture(scope="module")
def pair(policy_path: Path) -> Iterator[Any]:
    from rollout.server_engine import ServerEngine
    from rollout.vllm_engine import VllmOptions

    engine = ServerEngine(policy_path, VllmOptions(**SIZES), replicas=2, stall_s=6)
    folder = engine._folder
    yield engine
    groups = [replica.server._guard.pid for replica in engine._replicas]
    engine.close()
    engine.close()
    wait_until(lambda: not any(processes(group) for group in groups), 10)
    assert not folder.exists()


@pytest.fixture
def model(policy_path: Path) -> Any:
    from models.checkpoint import load_model

    return load_model(policy_path).eval()


def processes(session: int) -> list[psutil.Process]:
    """The living processes of a session; a server's guard leads its session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def engine_core(pair: Any, number: int) -> psutil.Process:
    """The process of a replica that computes: not the guard, not the HTTP server."""
    session = processes(pair._replicas[number].server._guard.pid)
    return next(process for process in session if "EngineCore" in " ".join(process.cmdline()))


def strike_at(monkeypatch: pytest.MonkeyPatch, replica: Any, call: int, blow: Callable[[], None]) -> None:
    """`blow` once, in the middle of this replica's `call`-th batch of long completions."""
    from rollout import server_client

    # Short beside a batch: on a quiet machine one of them can be over within a tenth of a second.
    monkeypatch.setattr(server_client, "POLL_S", 0.03)
    steps, ask, seen = server_client.Replica._steps, server_client.Replica.ask, {"calls": 0, "struck": False}

    async def counted(self: Any, session: Any, bodies: Any, answers: Any, **how: Any) -> None:
        seen["calls"] += self is replica and any(b["sampling_params"]["max_tokens"] > 1 for b in bodies.values())
        await ask(self, session, bodies, answers, **how)

    async def struck(self: Any, session: Any) -> Any:
        found = await steps(self, session)
        if self is replica and seen["calls"] == call and not seen["struck"]:
            seen["struck"] = True
            blow()
        return found

    monkeypatch.setattr(server_client.Replica, "ask", counted)
    monkeypatch.setattr(server_client.Replica, "_steps", struck)


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal tokens; log-probs to 1e-5, as what else is in a batch changes their last digits."""
    for group, other in zip(ours, theirs, strict=True):
        for one, two in zip(group, other, strict=True):
            assert (one.prompt_ids, one.completion_ids, one.finish) == (two.prompt_ids, two.completion_ids, two.finish)
            assert one.logprobs == pytest.approx(two.logprobs, abs=1e-5)


def test_rollouts_are_those_of_the_engine_in_this_process(pair: Any, model: Any, policy_path: Path) -> None:
    from rollout.vllm_engine import VllmEngine, VllmOptions

    pair.sync(model)
    params = SamplingParams(max_tokens=24, seed=3)
    told: dict[int, Any] = {}
    served, again = pair.generate(PROMPTS, params, 4, each=told.__setitem__), pair.generate(PROMPTS, params, 4)
    assert [told[place] for place in range(len(told))] == [rollout for group in served for rollout in group]
    inside = VllmEngine(policy_path, VllmOptions(**SIZES))
    expected, forced = inside.generate(PROMPTS, params, 4), inside.logprobs(PROMPTS)
    inside.close()
    assert_same(served, again)
    assert_same(served, expected)
    for ours, theirs in zip(pair.logprobs(PROMPTS), forced, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_sync_brings_every_tensor_to_every_replica(pair: Any, model: Any) -> None:
    from models.zoo import update_all_tensors
    from rollout.canary import Canary

    canary = Canary(model.config.vocab_size)
    pair.sync(model)
    update_all_tensors(model, 0.2, seed=1, relative=True)  # router biases and other buffers included
    before = canary.measure(model, pair, canary.probes[0])
    pair.sync(model)
    after = canary.check(model, pair)
    assert before.mean > 0.01 and after.max <= 1e-5
    assert after.tokens == 2 * sum(len(probe) - 1 for probe in canary.probes[0])


def test_the_canary_sees_a_single_replica_with_other_weights(pair: Any, model: Any, tmp_path: Path) -> None:
    from models.zoo import update_all_tensors
    from rollout.canary import Canary, CanaryFailure
    from rollout.weights import write_state

    pair.sync(model)
    update_all_tensors(model, 0.2, seed=1, relative=True)
    write_state(model, tmp_path / "other.safetensors")

    async def poison(session: Any, replica: Any) -> None:
        if replica is pair._replicas[1]:
            await replica.load(session, [tmp_path / "other.safetensors"], pair._version)

    pair._run(poison)
    with pytest.raises(CanaryFailure):
        Canary(model.config.vocab_size).check(model, pair)


def test_only_who_has_the_key_can_drive_a_server(pair: Any) -> None:
    import requests

    for replica in pair._replicas:
        server = replica.server
        assert pair._folder.stat().st_mode & 0o077 == 0
        for process in processes(server._guard.pid):
            assert server.key not in " ".join(process.cmdline())
            for connection in process.net_connections("tcp"):
                assert connection.status != psutil.CONN_LISTEN or connection.laddr.ip == "127.0.0.1"
        for path in ("/health", "/metrics", "/v1/models", "/collective_rpc", "/inference/v1/generate", "/pause"):
            for header in ({}, {"Authorization": "Bearer guessed"}):
                assert requests.post(server.url + path, json={}, headers=header, timeout=20).status_code == 401
                assert requests.get(server.url + path, headers=header, timeout=20).status_code == 401


def test_a_joined_server_is_checked_used_and_left_alone(
    pair: Any,
    model: Any,
    policy_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rollout.server_engine import ServerEngine
    from rollout.vllm_engine import VllmOptions

    pair.sync(model)
    params = SamplingParams(max_tokens=12, seed=1)
    expected = pair.generate(PROMPTS, params, 2)
    urls, options = [replica.server.url for replica in pair._replicas], VllmOptions(**SIZES)
    with pytest.raises(EngineFailure, match="wants its key: put it into the variable VLLM_API_KEY"):
        ServerEngine(policy_path, options, urls=urls)
    monkeypatch.setenv("VLLM_API_KEY", pair._replicas[0].server.key)
    command = "VLLM_MLA_DISABLE=1 VLLM_SERVER_DEV_MODE=1 .*"
    with pytest.raises(EngineFailure, match=f"has dtype float32, not bfloat16; start it so: {command}"):
        ServerEngine(policy_path, VllmOptions(**SIZES, dtype="bfloat16"), urls=urls)
    joined = ServerEngine(policy_path, options, urls=urls)
    assert_same(joined.generate(PROMPTS, params, 2), expected)
    joined.close()
    assert not joined._folder.exists() and all(replica.server.gone() is None for replica in pair._replicas)


def test_a_run_with_a_killed_replica_ends_as_one_without(
    pair: Any,
    policy_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    from models.checkpoint import load_model

    whole = run(policy_path, tmp_path / "whole", pair, scratch=tmp_path / "a", **LONG)
    with monkeypatch.context() as patch:
        strike_at(patch, pair._replicas[0], 2, lambda: os.kill(engine_core(pair, 0).pid, signal.SIGKILL))
        killed = run(policy_path, tmp_path / "killed", pair, scratch=tmp_path / "b", **LONG)
    assert killed[0]["engine_restarts"] == whole[0]["engine_restarts"] + 1
    assert [line["reward"] for line in killed[1]] == [line["reward"] for line in whole[1]]
    assert all(line["canary_gap/max"] <= 1e-4 for line in killed[1])
    first, second = (load_model(tmp_path / name).state_dict() for name in ("whole", "killed"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)

    # A server that hangs and does not come back: one clear error, the step saved, and the next run goes on from it.
    server = pair._replicas[1].server
    arguments = server.arguments
    server.arguments = {**arguments, "max_model_len": -5}
    with monkeypatch.context() as patch:
        strike_at(patch, pair._replicas[1], 3, lambda: os.kill(engine_core(pair, 1).pid, signal.SIGSTOP))
        with pytest.raises(EngineFailure, match=r"server 2 of 2 does not start: .*\(step 2 is saved") as caught:
            run(policy_path, tmp_path / "rest", pair, scratch=tmp_path / "c", **LONG)
    assert "\n" not in str(caught.value) and "made no progress for 6 s; it is started again" in caplog.text
    server.arguments = arguments
    rest = run(policy_path, tmp_path / "rest", pair, scratch=tmp_path / "c", **LONG)
    assert [line["reward"] for line in rest[1]] == [line["reward"] for line in whole[1][2:]]
    second = load_model(tmp_path / "rest").state_dict()
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


OWNER = """
import sys, time
from pathlib import Path
from rollout.server import Server
from rollout.vllm_engine import VllmOptions, llm_arguments
server = Server(llm_arguments(sys.argv[1], VllmOptions(max_model_len=128), 0), Path(sys.argv[2]), "key")
server.start()
print(server._guard.pid, flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_owner_leaves_no_server(policy_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="r1-"))  # a socket's path has at most 107 characters
    command = [sys.executable, "-c", OWNER, str(policy_path), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        try:
            session = int(owner.stdout.readline())  # type: ignore[union-attr]
            wait_until(lambda: len(processes(session)) >= 4, 90)  # guard, HTTP server, its helper, the engine
        finally:
            owner.kill()
    wait_until(lambda: not processes(session), 10)
    assert not folder.exists()


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def test_experts_over_http_want_a_gpu(policy_path: Path) -> None:
    from rollout.server_engine import ServerEngine
    from rollout.vllm_engine import VllmOptions

    with pytest.raises(EngineFailure, match="router_replay: r3: vLLM's server returns experts on a GPU only"):
        ServerEngine(policy_path, VllmOptions(**SIZES, routes=True))
