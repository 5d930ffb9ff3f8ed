"""The knobs of `engine: server` and of several engines, shared by the stages that draw rollouts.

Import costs nothing: no torch, no vLLM.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

Replicas = Annotated[
    int,
    Field(
        ge=1,
        description="engine processes: `vllm serve` (engine: server), or vLLM alone (engine: vllm, on a CPU)",
    ),
]
ServerUrls = Annotated[
    tuple[str, ...],
    Field(description="engine: server: join these running servers of this machine instead (http://127.0.0.1:8000)"),
]
StallSeconds = Annotated[
    float, Field(gt=0, description="engine: server: seconds without progress before a server counts as hung")
]


def server_faults(engine: str, replicas: int, urls: Sequence[str]) -> Iterator[str]:
    """Server knobs that cannot hold together, each in one line: what is wrong and what to do."""
    if engine != "server" and urls:
        yield f"server_urls: engine: {engine} has no servers: use engine: server or drop it"
    if replicas > 1 and (engine == "transformers" or (engine == "auto" and importlib.util.find_spec("vllm") is None)):
        yield f"replicas {replicas}: engine: transformers is one process: use engine: vllm or drop it"
    if urls and replicas > 1:
        yield f"replicas {replicas}: the servers of server_urls are the replicas: drop one of the two"
    if len(set(urls)) < len(urls):
        yield "server_urls: a server is named twice"
    for url in urls:
        if not _is_local(url):
            yield (
                f"server_urls: {url} is not http://127.0.0.1:PORT, http://localhost:PORT or http://[::1]:PORT: "
                "weights go over in a file, so the servers must run on this machine"
            )


def _is_local(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return local and parts.scheme == "http" and port is not None and parts.path in ("", "/") and not parts.query
