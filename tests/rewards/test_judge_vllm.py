"""The judge reward against a real `vllm serve`: the schema is honoured, so even an untrained model gives verdicts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewards.judge.reward import judge
from rollout.types import Sample

pytestmark = pytest.mark.xdist_group("servers")
KEY = "key-of-this-test"
COMPACT = '{"backend": "xgrammar", "disable_any_whitespace": true}'
START_S = 600  # a busy machine takes minutes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings that name a judge: an untrained tiny DeepSeek-V3 behind vLLM's OpenAI-compatible server."""
    from models.checkpoint import save_model
    from models.tiny import build_config, build_model
    from models.tokenizer import train_tokenizer
    from rollout.server import HOST, SERVE, free_port, server_environment

    path = tmp_path_factory.mktemp("judge")
    tokenizer = train_tokenizer(["Reply with one JSON object"], vocab_size=300)
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = build_config(len(tokenizer), hidden_size=64, layers=2, heads=2, expert_size=32, max_positions=8192, **ends)
    save_model(build_model(config, seed=0), tokenizer, path / "model")
    port = free_port()
    flags = ["--max-model-len=6144", "--max-num-seqs=8", "--dtype=float32", "--enforce-eager"]
    flags += ["--kv-cache-memory-bytes=1G", f"--structured-outputs-config={COMPACT}"]
    command = [sys.executable, "-m", SERVE, f"--model={path / 'model'}", "--served-model-name=tiny", *flags]
    environment = server_environment(path, KEY, (0, 1)) | {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with (path / "log").open("wb") as log:
        command += [f"--host={HOST}", f"--port={port}"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://{HOST}:{port}/health", process, path / "log")
        os.environ["R1_TEST_JUDGE_KEY"] = KEY
        # The untrained model would fill its analysis with noise up to the length that the schema allows.
        quote = {str(tokenizer.convert_tokens_to_ids('"')): 100}
        settings = {"url": f"http://{HOST}:{port}/v1", "model": "tiny", "key_env": "R1_TEST_JUDGE_KEY"}
        yield {**settings, "body": {"logit_bias": quote}, "max_tokens": 200, "timeout": 250.0, "retries": 0}
    finally:
        os.environ.pop("R1_TEST_JUDGE_KEY", None)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    until = time.monotonic() + START_S
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.3)


def test_structured_output_makes_every_reply_a_verdict(served: dict[str, Any], tmp_path: Path) -> None:
    samples = [Sample("What is 2 + 2?", f"<answer>{text}</answer>", "4") for text in ("four", "five", "4")]
    scores = judge(samples, **served, cache=str(tmp_path / "verdicts.sqlite"))
    assert scores[2] == 1.0 and all(score in (0.0, 1.0) for score in scores), scores
    pairs = judge(samples[:2], **served, mode="pair")
    assert sum(pairs) == 1.0, pairs  # type: ignore[arg-type]


def test_without_the_key_or_the_schema_there_is_no_verdict(served: dict[str, Any]) -> None:
    sample = Sample("What is 2 + 2?", "four", "4")
    (score,) = judge([sample], **{**served, "key_env": ""})
    assert isinstance(score, Exception) and "HTTP 401" in str(score)
    (score,) = judge([sample], **{**served, "body": None, "max_tokens": 8}, structured=False)
    assert isinstance(score, Exception) and ("cut off" in str(score) or "JSON" in str(score))
