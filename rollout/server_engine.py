"""The server engine: one or more `vllm serve` on this machine, driven over HTTP. Weights go over as a file in memory.

Requests are divided among the replicas by their place in the batch and carry seeds of their own, so that what is drawn
depends neither on which replica answers nor on when. A replica that dies or hangs is started again once, gets the last
weights, and only what it had not answered is asked again (`rollout.server_pool`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rollout.process import set_vllm_environment
from rollout.requests import request_seed, stop_token_ids
from rollout.server import EngineFailure, Joined, join_command
from rollout.server_client import Body, Replica, ReplicaDown
from rollout.server_pool import ServerPool
from rollout.types import Each, Rollout, SamplingParams
from rollout.vllm_engine import VllmOptions, llm_arguments
from rollout.weights import write_state


class ServerEngine(ServerPool):
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
        options = options or VllmOptions()
        arguments = llm_arguments(str(model_path), options, seed)
        if options.routes and "enable_return_routed_experts" not in arguments:
            raise EngineFailure("router_replay: r3: vLLM's server returns experts on a GPU only: use engine: vllm here")
        self.eos_ids = stop_token_ids(model_path)
        self._syncs, self._files = 0, list[Path]()
        super().__init__(arguments, replicas=replicas, urls=urls, stall_s=stall_s)

    @property
    def _version(self) -> str:
        return f"{self._folder.name}/{self._syncs}"

    async def accept(self, session: Any, replica: Replica) -> None:
        """A server that was joined gets the model's weights, whatever it has."""
        if isinstance(replica.server, Joined):
            await self._check_joined(session, replica)

    async def restore(self, session: Any, replica: Replica) -> None:
        """The weights of the last sync, if there was one (one that was joined has got them already)."""
        if not self._files or isinstance(replica.server, Joined):
            return
        try:
            await replica.load(session, self._files, self._version)
        except ReplicaDown as error:
            raise EngineFailure(f"{replica.server.name} does not take its weights again: {error}") from error

    async def verify(self, session: Any, replica: Replica) -> None:
        """The answers came from the weights of the last sync."""
        if self._files:
            await replica.check(session, self._version)

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

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int, *, each: Each | None = None
    ) -> list[list[Rollout]]:
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
        came = each and (lambda place, answer: each(place, _rollout(prompts[place], answer)))
        answers = self.ask(bodies, [i // n for i in range(len(bodies))], came=came)
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
        answers = self.ask([{"token_ids": list(sequence), "sampling_params": sampling} for sequence in ids], places)
        return [
            [answer["prompt_logprobs"][i][str(token)]["logprob"] for i, token in enumerate(sequence) if i]
            for sequence, answer in zip(ids, answers, strict=True)
        ]


def _blocks(count: int, size: int) -> list[int]:
    return [block for block in range(count) for _ in range(size)]


def _rollout(prompt_ids: list[int], answer: Any) -> Rollout:
    choice = answer["choices"][0]
    values = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert len(values) == len(choice["token_ids"]), "one log-probability per sampled token"
    routed = choice.get("routed_experts")  # a .npy file in base64, from a server that returns them
    experts = np.load(io.BytesIO(base64.b64decode(routed)), allow_pickle=False) if routed else None
    return Rollout(prompt_ids, choice["token_ids"], values, choice["finish_reason"], experts)
