"""The server engine: one or more `vllm serve` on this machine, driven over HTTP. Weights go over as a file in memory.

Requests are divided among the replicas by their place in the batch and carry seeds of their own, so that what is drawn
depends neither on which replica answers nor on when. A replica that dies or hangs is started again once, gets the last
weights, and only what it had not answered is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from rollout.process import set_vllm_environment
from rollout.requests import request_seed, stop_token_ids
from rollout.server import KEY_VARIABLE, EngineFailure, Joined, Server, join_command
from rollout.server_client import Body, Replica, ReplicaDown
from rollout.types import Rollout, SamplingParams
from rollout.vllm_engine import VllmOptions, llm_arguments
from rollout.weights import write_state

SHARED_MEMORY = Path("/dev/shm")
Work = Callable[[Any, Replica], Awaitable[Any]]


class ServerEngine:
    """`rollout.types.Engine` on `replicas` servers of its own, or on running ones at `urls`.

    `stall_s`: seconds without progress after which a server counts as hung. `restarts` counts what had to be started
    again. EngineFailure where a server does not start, refuses, or fails a second time before it finished a batch.
    """

    def __init__(
        self,
        model_path: str | Path,
        options: VllmOptions | None = None,
        *,
        replicas: int = 1,
        urls: Sequence[str] = (),
        stall_s: float = 120.0,
        seed: int = 0,
    ) -> None:
        set_vllm_environment()
        arguments = llm_arguments(str(model_path), options or VllmOptions(), seed)
        self.eos_ids, self.restarts = stop_token_ids(model_path), 0
        self._model_files = sorted(Path(model_path).glob("*.safetensors"))
        self._bytes = sum(file.stat().st_size for file in self._model_files)
        self._folder = _run_folder(self._bytes)
        self._run_id, self._syncs = self._folder.name, 0
        self._files: list[Path] = []
        self._arguments = arguments
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

    @property
    def _version(self) -> str:
        return f"{self._run_id}/{self._syncs}"

    async def _start(self, session: Any, replica: Replica) -> None:
        """Start and check one server; one that was joined gets the model's weights, whatever it has."""
        replica.server.start()
        try:
            await replica.ready(session, self._bytes)
            if isinstance(replica.server, Joined):
                await self._check_joined(session, replica)
        except ReplicaDown as error:
            raise EngineFailure(f"{replica.server.name} does not start: {error}") from error

    async def _check_joined(self, session: Any, replica: Replica) -> None:
        """EngineFailure, with the command that starts the right one, where a running server is not what is needed."""
        port = int(replica.server.url.rsplit(":", 1)[-1])
        wanted = {name: self._arguments[name] for name in ("dtype", "max_model_len", "logprobs_mode")}
        try:
            facts = await replica.call(session, "r1_facts")
        except (EngineFailure, ReplicaDown):
            wrong = "does not take weights (no developer mode, or without r1's worker extension)"
        else:
            differs = [f"{name} {facts[name]}, not {value}" for name, value in wanted.items() if facts[name] != value]
            if facts["max_model_len"] > wanted["max_model_len"]:
                differs = [text for text in differs if not text.startswith("max_model_len")]
            if not differs:
                self._files = self._files or self._model_files
                if not self._files:
                    raise EngineFailure(f"{self._arguments['model']} has no weights on this machine to give to it")
                return await replica.load(session, self._files, self._version)
            wrong = f"has {', '.join(differs)}"
        raise EngineFailure(f"{replica.server.name} {wrong}; start it so: {join_command(self._arguments, port)}")

    def generate(self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int) -> list[list[Rollout]]:
        """`n` rollouts for each prompt, in order. One replica draws all of a prompt: they share its prefix cache."""
        sampling = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "max_tokens": params.max_tokens,
            "stop_token_ids": sorted({*self.eos_ids, *params.stop_ids}),
            "logprobs": 0,
            "detokenize": False,
        }
        prompts = [list(ids) for ids in prompts_ids for _ in range(n)]
        bodies: list[Body] = []
        for i, ids in enumerate(prompts):
            seed = None if params.seed is None else request_seed(params.seed, i)
            bodies.append({"token_ids": ids, "sampling_params": {**sampling, "seed": seed}})
        answers = self._ask(bodies, [i // n for i in range(len(bodies))])
        self._forgive()
        rollouts = [_rollout(ids, answer) for ids, answer in zip(prompts, answers, strict=True)]
        return [rollouts[i : i + n] for i in range(0, len(rollouts), n)]

    def sync(self, model: Any) -> None:
        """Write all weights and buffers of `model` to memory once; every replica loads them and says that it has."""
        for file in self._folder.glob("weights-*"):
            file.unlink()
        self._syncs += 1
        self._files = [self._folder / f"weights-{self._syncs}.safetensors"]
        write_state(model, self._files[0])
        self._run(lambda session, replica: replica.load(session, self._files, self._version))

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Teacher-forced natural log-probabilities (nats) of ids[1:], one list per sequence."""
        return self._logprobs(ids, range(len(ids)))

    def logprobs_of_replicas(self, ids: Sequence[Sequence[int]]) -> list[list[list[float]]]:
        """`logprobs(ids)` by each replica: what the canary compares, as each has weights of its own."""
        count = len(self._replicas)
        flat = self._logprobs([list(sequence) for _ in range(count) for sequence in ids], _blocks(count, len(ids)))
        return [flat[i : i + len(ids)] for i in range(0, len(flat), len(ids))]

    def _logprobs(self, ids: Sequence[Sequence[int]], places: Sequence[int]) -> list[list[float]]:
        sampling = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        answers = self._ask([{"token_ids": list(sequence), "sampling_params": sampling} for sequence in ids], places)
        return [
            [answer["prompt_logprobs"][i][str(token)]["logprob"] for i, token in enumerate(sequence) if i]
            for sequence, answer in zip(ids, answers, strict=True)
        ]

    def _ask(self, bodies: Sequence[Body], places: Sequence[int]) -> list[Any]:
        """One answer per body; body i goes to replica places[i] (modulo their number)."""
        answers: list[Any] = [None] * len(bodies)
        mine: dict[int, list[int]] = {}
        for i, place in enumerate(places):
            mine.setdefault(place % len(self._replicas), []).append(i)

        async def work(session: Any, replica: Replica) -> None:
            todo = mine.get(self._replicas.index(replica), [])
            await replica.ask(session, {i: bodies[i] for i in todo if answers[i] is None}, answers)
            if not self._files:
                return
            try:
                await replica.check(session, self._version)
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
                if replica.failures > 1:
                    raise EngineFailure(f"{name} failed again right after its restart: {error}") from error
                logging.getLogger(__name__).warning("%s: %s; it is started again", name, error)
                self.restarts += 1
                await self._start(session, replica)
                if self._files and not isinstance(replica.server, Joined):
                    await self._reload(session, replica)

    async def _reload(self, session: Any, replica: Replica) -> None:
        try:
            await replica.load(session, self._files, self._version)
        except ReplicaDown as error:
            raise EngineFailure(f"{replica.server.name} does not take its weights again: {error}") from error

    def close(self) -> None:
        """Stop the servers that are ours and remove their files. Safe to call twice."""
        for replica in self._replicas:
            replica.server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _run_folder(model_bytes: int) -> Path:
    """A folder for this run's weights, sockets and logs that only this user can enter; in memory where they fit twice
    (a checkpoint in bfloat16 is synced in float32), else among the temporary files."""
    room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2.2 * model_bytes
    return Path(tempfile.mkdtemp(prefix="r1-server-", dir=SHARED_MEMORY if room else None))


def _blocks(count: int, size: int) -> list[int]:
    return [block for block in range(count) for _ in range(size)]


def _rollout(prompt_ids: list[int], answer: Any) -> Rollout:
    choice = answer["choices"][0]
    values = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert len(values) == len(choice["token_ids"]), "one log-probability per sampled token"
    return Rollout(prompt_ids, choice["token_ids"], values, choice["finish_reason"])
