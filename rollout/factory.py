"""One place that knows which engines there are and which one fits the machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rollout.types import Engine

EngineKind = Literal["auto", "vllm", "transformers", "server"]


def make_engine(
    kind: EngineKind,
    model_path: str | Path,
    *,
    max_model_len: int = 1024,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    max_num_seqs: int = 256,
    kv_cache_gib: float | None = None,
    gpu_memory: float = 0.4,
    processed_logprobs: bool = False,
    routes: bool = False,
    sleeps: bool = False,
    replicas: int = 1,
    server_urls: Sequence[str] = (),
    stall_seconds: float = 120.0,
    seed: int = 0,
) -> Engine:
    """An engine with the weights of the model folder; `auto` is vLLM where it is installed, else transformers."""
    resolved = resolve_kind(kind)
    if resolved == "transformers":
        from rollout.hf_engine import HfEngine

        return HfEngine(model_path, dtype="float32" if dtype == "auto" else dtype)
    from rollout.vllm_engine import VllmEngine, VllmOptions

    options = VllmOptions(
        max_model_len=max_model_len,
        dtype=dtype,
        max_num_seqs=max_num_seqs,
        kv_cache_gib=kv_cache_gib,
        gpu_memory=gpu_memory,
        processed_logprobs=processed_logprobs,
        routes=routes,
        sleeps=sleeps,
    )
    if resolved == "server":
        from rollout.server_engine import ServerEngine

        return ServerEngine(model_path, options, replicas=replicas, urls=server_urls, stall_s=stall_seconds, seed=seed)
    if replicas > 1:
        import torch

        from rollout.parallel_engine import EngineFailure, ParallelEngine

        if torch.cuda.is_available():
            raise EngineFailure(f"replicas {replicas}: engine: vllm is one process on a GPU: use engine: server")
        return ParallelEngine(model_path, options, replicas=replicas, seed=seed)
    return VllmEngine(model_path, options, seed=seed)


def resolve_kind(kind: EngineKind) -> Literal["vllm", "transformers", "server"]:
    """The engine that `kind` means on this machine; ValueError when vLLM is asked for and missing."""
    installed = importlib.util.find_spec("vllm") is not None
    if kind in ("vllm", "server") and not installed:
        raise ValueError(f"engine: {kind}: vLLM is not installed here; run `make setup`, or use `engine: transformers`")
    if kind == "auto":
        return "vllm" if installed else "transformers"
    return kind
