"""Several vLLM engines of one machine, each in a process of its own with its share of the cores.

A step of vLLM is mostly Python where the model is small, and Python has one core: two processes draw twice as much.
What is drawn does not depend on how many there are, since every request carries its own seed (on this path in float32:
there an answer does not depend on what else is in its batch).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from multiprocessing import Pipe, connection
from pathlib import Path
from typing import Any

from rollout.process import python_path, run_folder, share_of_cores
from rollout.requests import request_seed
from rollout.server import EngineFailure, last_words
from rollout.types import Each, Rollout, SamplingParams
from rollout.vllm_engine import VllmOptions
from rollout.weights import write_state

Heard = Callable[[int, int, Rollout], None]
"""Of process i its rollout number j."""


class EngineProcess:
    """One of them, as its parent sees it. EngineFailure where it has ended."""

    def __init__(self, number: int, count: int, folder: Path) -> None:
        self.name = f"engine process {number + 1} of {count}"
        self._log = folder / f"engine-{number + 1}.log"
        self.pipe, theirs = Pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rollout.engine_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": str(share_of_cores(count))},
            )
        theirs.close()

    def send(self, *message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> EngineFailure:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = None
        return EngineFailure(f"{self.name} ended with status {status}{last_words(self._log)}")

    def stop(self) -> None:
        """Kill it: it has nothing to put in order."""
        self._process.kill()
        self._process.wait()


def deal(prompts_ids: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Which prompts each of `count` processes draws: from the longest on, there and back, so that all get a like share
    to read and, as far as long questions have long answers, to write. The slowest one is waited for."""
    order = sorted(range(len(prompts_ids)), key=lambda p: -len(prompts_ids[p]))
    turns = [*range(count), *reversed(range(count))]
    return [[p for i, p in enumerate(order) if turns[i % len(turns)] == hand] for hand in range(count)]


class ParallelEngine:
    """`rollout.types.Engine` on `replicas` processes. EngineFailure where one does not start or ends too soon."""

    def __init__(
        self, model_path: str | Path, options: VllmOptions | None = None, *, replicas: int = 2, seed: int = 0
    ) -> None:
        self.options = options or VllmOptions()
        self._folder = run_folder(sum(file.stat().st_size for file in Path(model_path).glob("*.safetensors")))
        self._syncs, self._processes = 0, list[EngineProcess]()
        try:
            for i in range(replicas):
                self._processes.append(EngineProcess(i, replicas, self._folder))
            at_once = -(-self.options.max_num_seqs // replicas)
            share = replace(self.options, max_num_seqs=at_once)
            self._ask([(str(model_path), share, seed, str(self._folder))] * replicas)
        except BaseException:
            self.close()
            raise

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int, *, each: Each | None = None
    ) -> list[list[Rollout]]:
        """`n` rollouts for each prompt, in order. One process draws all of a prompt: they share its prefix cache."""
        places = [[p * n + g for p in hand for g in range(n)] for hand in deal(prompts_ids, len(self._processes))]
        rollouts: list[Any] = [None] * (len(prompts_ids) * n)

        def heard(number: int, place: int, rollout: Rollout) -> None:
            rollouts[places[number][place]] = rollout
            if each is not None:
                each(places[number][place], rollout)

        def seed(place: int) -> int | None:
            return None if params.seed is None else request_seed(params.seed, place)

        work = [("draw", [list(prompts_ids[i // n]) for i in mine], [seed(i) for i in mine], params) for mine in places]
        for mine, routes in zip(places, self._ask(work, heard), strict=True):
            for place, experts in zip(mine, routes or [], strict=bool(routes)):
                rollouts[place] = replace(rollouts[place], experts=experts)
        return [rollouts[i : i + n] for i in range(0, len(rollouts), n)]

    def sync(self, model: Any) -> None:
        """Write all weights and buffers of `model` to memory once; every process loads them."""
        self._syncs += 1
        file = self._folder / f"weights-{self._syncs}.safetensors"
        write_state(model, file)
        self._ask([("load", [str(file)], str(self._syncs))] * len(self._processes))
        file.unlink()

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Teacher-forced natural log-probabilities (nats) of ids[1:], one list per sequence."""
        return self.logprobs_of_replicas(ids)[0]

    def logprobs_of_replicas(self, ids: Sequence[Sequence[int]]) -> list[list[list[float]]]:
        """`logprobs(ids)` by each process: what the canary compares, as each has weights of its own."""
        return self._ask([("logprobs", [list(sequence) for sequence in ids])] * len(self._processes))

    def _ask(self, messages: Sequence[tuple[Any, ...]], heard: Heard | None = None) -> list[Any]:
        """The answer of each process to its message. An exception, here or in `heard`, ends what they are at."""
        answers: list[Any] = [None] * len(messages)
        waiting: dict[Any, int] = {}
        try:
            for number, (process, message) in enumerate(zip(self._processes, messages, strict=True)):
                process.send(*message)
                waiting[process.pipe] = number
            while waiting:
                for pipe in connection.wait(list(waiting)):
                    number = waiting[pipe]
                    kind, *content = self._processes[number].receive()
                    if kind == "rollout":
                        assert heard is not None
                        heard(number, *content)
                    else:
                        del waiting[pipe]
                        answers[number] = content[0]
        except EngineFailure:
            self.close()
            raise
        except BaseException:
            self._give_up([self._processes[number] for number in waiting.values()])
            raise
        return answers

    def _give_up(self, at_work: Iterable[EngineProcess]) -> None:
        """Tell them to stop, and take what is still in the pipes."""
        for process in at_work:
            process.send("stop")
            while process.receive()[0] != "done":
                pass

    def close(self) -> None:
        """End the processes and remove their files; work that is under way fails. Safe to call twice."""
        for process in self._processes:
            process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
