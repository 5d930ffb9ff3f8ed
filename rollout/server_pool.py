"""A set of `vllm serve` processes that answer one batch of requests together.

Requests are divided among the servers by their place in the batch, so that no answer depends on when another comes. A
server that dies or hangs is started again once, and only what it had not answered is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.process import run_folder, set_vllm_environment
from rollout.server import KEY_VARIABLE, EngineFailure, Joined, Server
from rollout.server_client import Body, Replica, ReplicaDown

Work = Callable[[Any, Replica], Awaitable[Any]]


class ServerPool:
    """`replicas` servers of our own with these `arguments` of `vllm.LLM`, or running ones at `urls`.

    `stall_s`: seconds without progress after which a server counts as hung. `restarts` counts what had to be started
    again. EngineFailure where a server does not start, refuses, or fails a second time before it finished a batch.
    """

    def __init__(
        self, arguments: Mapping[str, Any], *, replicas: int = 1, urls: Sequence[str] = (), stall_s: float = 120.0
    ) -> None:
        set_vllm_environment()
        self.restarts, self._arguments = 0, arguments
        self._model_files = sorted(Path(arguments["model"]).glob("*.safetensors"))
        self._bytes = sum(file.stat().st_size for file in self._model_files)
        self._folder = run_folder(self._bytes)
        self._closed = False
        key = os.environ.get(KEY_VARIABLE, "") if urls else secrets.token_urlsafe(32)
        servers: list[Server | Joined] = [Joined(url.rstrip("/"), key) for url in urls]
        servers = servers or [Server(arguments, self._folder, key, (i, replicas)) for i in range(replicas)]
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] % 2**31  # "unlimited" is -1
        connections = max(16, min(512, descriptors // 4 // len(servers)))
        self._replicas = [Replica(server, stall_s, connections) for server in servers]
        try:
            self._run(self._start)
        except BaseException:
            self.close()
            raise

    async def accept(self, session: Any, replica: Replica) -> None:
        """What else a server needs once it answers for the first time; ReplicaDown or EngineFailure if it won't do."""

    async def restore(self, session: Any, replica: Replica) -> None:
        """What a server needs after a restart to be what it was; EngineFailure where it cannot."""

    async def verify(self, session: Any, replica: Replica) -> None:
        """ReplicaDown where the answers that a server has just given cannot be trusted."""

    async def _start(self, session: Any, replica: Replica) -> None:
        replica.server.start()
        try:
            await replica.ready(session, self._bytes)
            await self.accept(session, replica)
        except ReplicaDown as error:
            raise EngineFailure(f"{replica.server.name} does not start: {error}") from error

    def ask(self, bodies: Sequence[Body], places: Sequence[int], **how: Any) -> list[Any]:
        """One answer per body; body i goes to replica places[i] (modulo their number). `how`: see `Replica.ask`."""
        answers: list[Any] = [None] * len(bodies)
        mine: dict[int, list[int]] = {}
        for i, place in enumerate(places):
            mine.setdefault(place % len(self._replicas), []).append(i)

        async def work(session: Any, replica: Replica) -> None:
            todo = mine.get(self._replicas.index(replica), [])
            await replica.ask(session, {i: bodies[i] for i in todo if answers[i] is None}, answers, **how)
            try:
                await self.verify(session, replica)
            except ReplicaDown:
                for i in todo:  # which of these came from the right weights is not known
                    answers[i] = None
                raise

        self._run(work)
        return answers

    def _run(self, work: Work) -> None:
        """Do `work` on all replicas at once, each restarted once where it fails."""

        async def together() -> None:
            import aiohttp

            # Connections are not kept: a kept one that the server closes just then would look like its death.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            async with aiohttp.ClientSession(connector=connector) as session:
                tasks = [asyncio.ensure_future(self._careful(session, replica, work)) for replica in self._replicas]
                try:
                    await asyncio.gather(*tasks)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

        try:
            asyncio.run(together())
        except EngineFailure:
            self._forgive()  # an engine that is used again has its restarts again
            raise

    def _forgive(self) -> None:
        """Each replica may fail once from here on."""
        for replica in self._replicas:
            replica.failures = 0

    async def _careful(self, session: Any, replica: Replica, work: Work) -> None:
        while True:
            try:
                return await work(session, replica)
            except ReplicaDown as error:
                replica.failures += 1
                name = replica.server.name
                if self._closed:
                    raise EngineFailure(f"{name} was stopped: {error}") from error
                if replica.failures > 1:
                    raise EngineFailure(f"{name} failed again right after its restart: {error}") from error
                logging.getLogger(__name__).warning("%s: %s; it is started again", name, error)
                self.restarts += 1
                await self._start(session, replica)
                await self.restore(session, replica)

    def close(self) -> None:
        """Stop the servers that are ours and remove their files; work that is under way fails. Safe to call twice."""
        self._closed = True
        for replica in self._replicas:
            replica.server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
