"""HTTP to one rollout server: tokens in, tokens and log-probs out, and a way to tell a slow server from a hung one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.server import KEY_VARIABLE, EngineFailure, Joined, Server

Body = dict[str, Any]
GENERATE, RPC = "/inference/v1/generate", "/collective_rpc"
POLL_S = 1.0
PROBE_S = 5.0  # for the health and metrics pages
START_S = 900.0  # for a server to load and answer, beside what its weights take
LOAD_BYTES_PER_S = 50e6  # slower than this, loading weights counts as hung
STEPS = re.compile(r"^vllm:iteration_tokens_total_count(?:\{[^}]*\})? (\S+)", re.MULTILINE)


class ReplicaDown(Exception):
    """A server that is dead, hung or has other weights than it should; the message says which, in a few words."""


def ended(answer: Any) -> None:
    """ReplicaDown where a completion was broken off, as a server does that is shut down."""
    if (reason := answer["choices"][0]["finish_reason"]) not in ("stop", "length"):
        raise ReplicaDown(f"it ended a completion by {reason}")


class Replica:
    """One server and what the run knows about it. `failures` counts since the last batch that it finished;
    `connections` is how many requests may be under way at once (the server queues what it cannot decode yet)."""

    def __init__(self, server: Server | Joined, stall_s: float, connections: int) -> None:
        self.server, self.stall_s, self.connections, self.failures = server, stall_s, connections, 0

    async def ready(self, session: Any, weight_bytes: int) -> None:
        """Wait until the server answers; ReplicaDown where it ends instead, or takes too long."""
        limit = self.stall_s if isinstance(self.server, Joined) else START_S + weight_bytes / LOAD_BYTES_PER_S
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if why := self.server.gone():
                raise ReplicaDown(why)
            if self.server.listens() and await self._health(session):
                return
            await asyncio.sleep(POLL_S / 4)
        raise ReplicaDown(f"it did not answer within {limit:.0f} s")

    async def _health(self, session: Any) -> bool:
        import aiohttp

        try:
            async with session.get(self.server.url + "/health", **self._options(PROBE_S)) as answer:
                if answer.status == 401:
                    raise EngineFailure(f"{self.server.name} wants its key: put it into the variable {KEY_VARIABLE}")
                return bool(answer.status == 200)
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def call(self, session: Any, method: str, arguments: Sequence[Any] = (), *, weight_bytes: int = 0) -> Any:
        """What the worker's method returns (that of the first worker: all are given the same)."""
        wait = self.stall_s + weight_bytes / LOAD_BYTES_PER_S
        body = {"method": method, "args": list(arguments)}
        return (await self._post(session, RPC, body, wait))["results"][0]

    async def load(self, session: Any, files: Sequence[Path], version: str) -> None:
        """Give the server the weights in `files` (checkpoint format) and drop what it cached from earlier ones."""
        size = sum(file.stat().st_size for file in files)
        await self.call(session, "r1_load_files", ([str(file) for file in files], version), weight_bytes=size)
        await self._post(session, "/reset_prefix_cache", {}, self.stall_s)
        await self.check(session, version)

    async def check(self, session: Any, version: str) -> None:
        """ReplicaDown unless the server's weights are `version`: it may have been restarted behind our back."""
        loaded = (await self.call(session, "r1_facts"))["version"]
        if loaded != version:
            raise ReplicaDown(f"it has weights {loaded}, not {version}: somebody restarted it or loaded others")

    async def ask(
        self,
        session: Any,
        bodies: Mapping[int, Body],
        answers: list[Any],
        *,
        path: str = GENERATE,
        whole: Callable[[Any], None] = ended,
        came: Callable[[int, Any], None] | None = None,
    ) -> None:
        """Put the server's answer to each body, posted to `path`, into its place in `answers`. What has come stays
        there if this raises ReplicaDown, which it does as soon as the server is gone, breaks a connection, or stands
        still for `stall_s`. `whole(answer)` raises it where an answer is none; the
        others are told to `came(place, answer)`."""

        if not bodies:
            return
        gate = asyncio.Semaphore(self.connections)

        async def one(place: int, body: Body) -> None:
            async with gate:
                answer = await self._post(session, path, body, None)
                whole(answer)
                answers[place] = answer
                if came is not None:
                    came(place, answer)

        posts = [asyncio.ensure_future(one(place, body)) for place, body in bodies.items()]
        watch = asyncio.ensure_future(self._watch(session, lambda: sum(answers[place] is not None for place in bodies)))
        work = asyncio.gather(*posts)
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            (work if work.done() else watch).result()
        finally:
            for task in (watch, *posts):
                task.cancel()
            await asyncio.gather(watch, work, *posts, return_exceptions=True)

    async def _watch(self, session: Any, answered: Any) -> None:
        """Raise ReplicaDown once neither an answer comes nor the engine makes a step for `stall_s`.

        A round of this loop counts for its usual length at most: if this process itself was stopped for a while, the
        server is not to blame.
        """
        seen, still, began = None, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            if why := self.server.gone():
                raise ReplicaDown(why)
            steps = await self._steps(session)
            now = (answered(), seen[1] if seen and steps is None else steps)
            elapsed, began = time.monotonic() - began, time.monotonic()
            still = still + min(elapsed, POLL_S + PROBE_S) if now == seen else 0.0
            seen = now
            if still > self.stall_s:
                raise ReplicaDown(f"it made no progress for {self.stall_s:g} s")

    async def _steps(self, session: Any) -> float | None:
        """Engine steps so far, from the metrics page; None where it is not to be had."""
        import aiohttp

        try:
            options = self._options(min(PROBE_S, self.stall_s))
            async with session.get(self.server.url + "/metrics", **options) as answer:
                return sum(map(float, STEPS.findall(await answer.text())))
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _post(self, session: Any, path: str, body: Body, timeout: float | None) -> Any:
        """The JSON answer. ReplicaDown where the server fails, EngineFailure where it refuses."""
        import aiohttp

        try:
            async with session.post(self.server.url + path, json=body, **self._options(timeout)) as answer:
                if answer.status == 200:
                    return await answer.json()
                text = " ".join((await answer.text()).split())[:300]
        except TimeoutError as error:
            raise ReplicaDown(f"no answer within {timeout:.0f} s") from error
        except aiohttp.ClientError as error:
            raise ReplicaDown(self.server.gone() or f"the connection broke ({type(error).__name__})") from error
        if answer.status >= 500:
            raise ReplicaDown(self.server.gone() or f"it answers {answer.status}")
        raise EngineFailure(f"{self.server.name} refuses {path}: {answer.status} {text}".rstrip())

    def _options(self, timeout: float | None) -> dict[str, Any]:
        import aiohttp

        connect = min(PROBE_S, timeout or PROBE_S)
        return {
            "headers": {"Authorization": f"Bearer {self.server.key}"},
            "timeout": aiohttp.ClientTimeout(total=timeout, sock_connect=connect),
        }
