"""The server engine's knobs, flags and lock, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoSettings
from rollout.server import join_command, serve_flags
from rollout.server_key import RequireKey


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 2, "engine": "transformers"}, "replicas 2: engine: transformers is one process"),
        ({"engine": "vllm", "server_urls": ["http://127.0.0.1:8000"]}, "server_urls: engine: vllm has no servers"),
        ({"engine": "server", "replicas": 2, "server_urls": ["http://127.0.0.1:8000"]}, "drop one of the two"),
        ({"engine": "server", "server_urls": ["http://127.0.0.1:1", "http://127.0.0.1:1"]}, "named twice"),
        ({"engine": "server", "server_urls": ["http://10.0.0.7:8000"]}, "must run on this machine"),
        ({"engine": "server", "server_urls": ["http://127.0.0.1.evil.org:8000"]}, "must run on this machine"),
        ({"engine": "server", "server_urls": ["http://localhost:http"]}, "must run on this machine"),
        ({"engine": "server", "stall_seconds": 0}, "greater than 0"),
    ],
)
def test_knobs_that_cannot_hold_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GrpoSettings(**settings)


def test_knobs_that_can() -> None:
    urls = ("http://127.0.0.1:8000", "http://localhost:8001/", "http://[::1]:8002")
    assert GrpoSettings(engine="server", server_urls=urls).server_urls == urls
    assert GrpoSettings(engine="vllm", replicas=2).replicas == 2
    assert GrpoSettings(engine="server", replicas=4, temperature=0.7, correction="token_mask").comparable


def test_flags_say_what_the_arguments_say() -> None:
    arguments = {"model": "m", "skip_tokenizer_init": True, "max_model_len": 64, "enforce_eager": True,
                 "enable_prefix_caching": False, "attention_config": {"backend": "CPU_MLA"}}  # fmt: skip
    flags = serve_flags(arguments, 8123)
    assert {"--model=m", "--host=127.0.0.1", "--port=8123", "--middleware=rollout.server_key.RequireKey"} <= set(flags)
    assert {"--max-model-len=64", "--enforce-eager", "--no-enable-prefix-caching", "--tokens-only"} <= set(flags)
    assert '--attention-config={"backend": "CPU_MLA"}' in flags
    assert """'--attention-config={"backend": "CPU_MLA"}'""" in join_command(arguments)


def test_the_command_to_join_says_that_attention_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"model": "m"}
    monkeypatch.delenv("VLLM_MLA_DISABLE", raising=False)
    assert "VLLM_MLA_DISABLE" not in join_command(arguments)
    monkeypatch.setenv("VLLM_MLA_DISABLE", "1")
    assert join_command(arguments).startswith("VLLM_MLA_DISABLE=1 VLLM_SERVER_DEV_MODE=1 ")


def test_experts_come_with_an_answer_as_an_array_in_base64() -> None:
    import base64
    import io

    import numpy as np

    from rollout.server_engine import _rollout

    experts = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.save(file := io.BytesIO(), experts)
    content = [{"logprob": -0.5}, {"logprob": -1.0}]
    choice = {"token_ids": [7, 8], "logprobs": {"content": content}, "finish_reason": "stop"}
    routed = {**choice, "routed_experts": base64.b64encode(file.getvalue()).decode()}
    np.testing.assert_array_equal(_rollout([5, 6], {"choices": [routed]}).experts, experts)
    assert _rollout([5, 6], {"choices": [choice]}).experts is None


@pytest.mark.parametrize(
    ("key", "header", "opens"),
    [("secret", b"Bearer secret", True), ("secret", b"Bearer secre", False), ("secret", b"secret", False),
     ("secret", None, False), (None, b"Bearer ", False), ("", b"Bearer ", False)],
)  # fmt: skip
def test_the_lock_wants_the_key(
    key: str | None, header: bytes | None, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("VLLM_API_KEY", key)
    reached, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if header is None else [(b"authorization", header)]
    for kind in ("http", "websocket"):
        asyncio.run(RequireKey(app)({"type": kind, "path": "/health", "headers": headers}, None, send))  # type: ignore[arg-type]
    assert reached == (["/health"] * 2 if opens else [])
    assert opens or [sent[0]["status"], sent[-1]["code"]] == [401, 1008]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_written_whole_and_for_the_owner_only(tiny_model: Any, tmp_path: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file

    from rollout.weights import checkpoint_state, write_state

    tiny_model = tiny_model.to(getattr(torch, dtype))
    write_state(tiny_model, tmp_path / "weights.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o077 == 0
    written, state = load_file(tmp_path / "weights.safetensors"), checkpoint_state(tiny_model)
    assert written.keys() == state.keys() and any("e_score_correction_bias" in name for name in written)
    assert all(torch.equal(written[name], state[name]) for name in state)
    assert {str(tensor.dtype) for tensor in written.values()} >= {f"torch.{dtype}"}
