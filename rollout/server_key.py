"""The lock of a rollout server: every path wants the key.

vLLM's own key guards the generation endpoints only: `/collective_rpc`, `/pause` and `/metrics` want none, and every
user of a machine can reach a loopback port.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class RequireKey:
    """ASGI middleware (`vllm serve --middleware`): without `Authorization: Bearer $VLLM_API_KEY`, 401 and no more.

    Where the variable is not set, nothing is let through.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode() if (key := os.environ.get("VLLM_API_KEY")) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._opens(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _opens(self, scope: Scope) -> bool:
        given = dict(scope.get("headers") or ()).get(b"authorization", b"")
        return self._wanted is not None and hmac.compare_digest(given, self._wanted)
