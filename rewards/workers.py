"""Killable worker processes: every task has a CPU-time limit and a looser wall limit, and a hang costs one worker.

The workers are fresh Python processes (never forks of a trainer holding a GPU). Inside a worker ITIMER_PROF with its
default action ends the process when a task used up its CPU time, even inside a C call; a busy machine does not
change that. The parent kills what neither computes nor returns. A lost worker is replaced and only the task it was
working on is lost; `signal.alarm` is not used anywhere, so any thread may call this.
"""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rewards.incoming import Incoming

START_S = 60.0  # wall seconds a worker may take to start (imports on a busy machine)
END_S = 5.0  # wall seconds that idle workers may take to end
GATHER_S = 0.001
BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from rewards.worker import main; main(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no value: `kind` is raised, timeout, died or value; `what` is one line for a person."""

    kind: str
    what: str


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    results: int
    buffer: bytearray = field(default_factory=bytearray)
    ready: bool = False
    queue: deque[int] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)

    def kill(self) -> int:
        self.process.kill()
        code = self.process.wait()
        self.close()
        return code

    def release(self) -> None:
        """No further task will come."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def close(self) -> None:
        self.release()
        if self.results >= 0:
            os.close(self.results)
            self.results = -1


class WorkerPool:
    """`workers` processes, each holding a handler built by `setup` ("module:function") called with `arguments`.

    The handler takes one task (anything picklable) and returns a JSON value. Use as a context manager or `close()`;
    workers also end by themselves when this process does.

    Args:
        timeout_s: CPU seconds of one task.
        wall_s: wall seconds of one task, for what waits without computing; keep it several times `timeout_s`.
    """

    def __init__(
        self, setup: str, arguments: Sequence[Any] = (), *, workers: int = 1, timeout_s: float, wall_s: float
    ) -> None:
        self._workers: list[_Worker] = []
        self._owner = os.getpid()
        assert workers >= 1 and timeout_s > 0 and wall_s > 0
        self._hello = pickle.dumps((setup, tuple(arguments), float(timeout_s)))
        self._timeout_s, self._wall_s, self._count = timeout_s, wall_s, workers
        self._lock = threading.Lock()
        self.replaced = 0

    def run(self, tasks: Sequence[Any] | Incoming) -> Generator[tuple[int, Any | Failure], None, None]:
        """Yield `(index of the task, value or Failure)` in the order of completion; tasks that are still to come are
        begun as they do. Ends early, without the rest, once `tasks` is stopped.

        Raises:
            RuntimeError: workers cannot be started (the message holds the reason).
        """
        with self._lock:
            try:
                yield from self._run(tasks if isinstance(tasks, Incoming) else Incoming.of(tasks))
            finally:
                for worker in [w for w in self._workers if w.queue]:  # the caller stopped early
                    self._drop(worker)

    def _run(self, incoming: Incoming) -> Iterator[tuple[int, Any | Failure]]:
        tasks: list[Any] = []
        waiting: deque[int] = deque()  # the indices of those that no worker has
        done = failed_starts = 0
        share = 1
        while True:
            if new := incoming.take():
                waiting.extend(range(len(tasks), len(tasks) + len(new)))
                tasks += new
                share = max(1, min(64, len(waiting) // (2 * self._count)))
            if incoming.stopped or (done == len(tasks) and not incoming.more):
                return
            while len(self._workers) < min(self._count, len(tasks)):
                self._workers.append(self._spawn())
            with selectors.DefaultSelector() as selector:
                selector.register(incoming.wake, selectors.EVENT_READ)
                for worker in self._workers:
                    if worker.ready and not worker.queue and waiting:
                        self._give(worker, waiting, share, tasks)
                    selector.register(worker.results, selectors.EVENT_READ, worker)
                events = selector.select(timeout=self._patience())
            if any(len(worker.queue) > 1 for worker in self._workers):
                time.sleep(GATHER_S)  # more answers are coming: one wake-up for many, not one for each
            for worker in [key.data for key, _ in events if key.data is not None]:
                data = os.read(worker.results, 1 << 16)
                worker.buffer += data
                for index, value in self._parse(worker):
                    done += 1
                    yield index, value
                if not data:
                    started = worker.ready
                    lost = self._bury(worker, waiting)
                    failed_starts = 0 if started else failed_starts + 1
                    if failed_starts >= 3:
                        raise RuntimeError("reward workers die while starting; see the error printed above")
                    if lost is not None:
                        done += 1
                        yield lost
            for worker in [w for w in self._workers if self._overdue(w)]:
                if not worker.ready:
                    raise RuntimeError(f"a reward worker did not start within {START_S:.0f} s")
                lost = self._bury(worker, waiting, overdue=True)
                if lost is not None:
                    done += 1
                    yield lost

    def _spawn(self) -> _Worker:
        read, write = os.pipe()
        command = [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(write)]
        try:
            stdout = sys.stderr.fileno() if _has_fd(sys.stderr) else subprocess.DEVNULL
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, pass_fds=(write,))
        finally:
            os.close(write)
        worker = _Worker(process, read)
        _send(worker, self._hello)
        return worker

    def _give(self, worker: _Worker, waiting: deque[int], share: int, tasks: Sequence[Any]) -> None:
        batch = [waiting.popleft() for _ in range(min(share, len(waiting)))]
        worker.queue.extend(batch)
        worker.since = time.monotonic()
        _send(worker, pickle.dumps([tasks[index] for index in batch]))

    def _parse(self, worker: _Worker) -> Iterator[tuple[int, Any | Failure]]:
        """Whole lines of the results pipe: `["ready"]`, then one `["ok", value]` or `["error", kind, what]` a task."""
        while (end := worker.buffer.find(b"\n")) >= 0:
            message = json.loads(worker.buffer[:end])
            del worker.buffer[: end + 1]
            worker.since = time.monotonic()
            if message[0] == "ready":
                worker.ready = True
                continue
            index = worker.queue.popleft()
            yield index, message[1] if message[0] == "ok" else Failure(message[1], message[2])

    def _overdue(self, worker: _Worker) -> bool:
        if not worker.ready:
            return time.monotonic() - worker.since > START_S
        return bool(worker.queue) and time.monotonic() - worker.since > self._wall_s

    def _patience(self) -> float | None:
        """Seconds until a worker is overdue; None where none has anything to do."""
        ends = [w.since + (self._wall_s if w.ready else START_S) for w in self._workers if w.queue or not w.ready]
        return max(0.001, min(ends) - time.monotonic()) if ends else None

    def _bury(self, worker: _Worker, waiting: deque[int], overdue: bool = False) -> tuple[int, Failure] | None:
        """Replace a worker; its current task failed, the rest of its share goes back to the queue."""
        queue = deque(worker.queue)
        ready = worker.ready
        code = self._drop(worker)
        if not ready and queue:
            raise AssertionError("a worker has work before it is ready")
        self._workers.append(self._spawn())
        if not queue:
            return None
        index = queue.popleft()
        waiting.extendleft(reversed(queue))
        if overdue:
            return index, Failure("timeout", f"no result within {self._wall_s:g} s of wall time")
        if code == -signal.SIGPROF:
            return index, Failure("timeout", f"used more than {self._timeout_s:g} s of CPU time")
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        return index, Failure("died", f"the worker process died ({ending})")

    def _drop(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        self.replaced += 1
        return worker.kill()

    def close(self) -> None:
        """Stop all workers. Idempotent; does nothing in a forked copy of the process that started them."""
        if os.getpid() != self._owner:
            return
        for worker in self._workers:
            worker.release()
        until = time.monotonic() + END_S
        for worker in self._workers:
            if not worker.queue:  # idle: it ends by itself, and what its handler started with it
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, until - time.monotonic()))
            worker.kill()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _send(worker: _Worker, message: bytes) -> None:
    """Write one length-prefixed message; a worker that died shows up as end-of-file on its results pipe."""
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):
        worker.process.stdin.write(struct.pack("<Q", len(message)))
        worker.process.stdin.write(message)
        worker.process.stdin.flush()


def _has_fd(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, ValueError, AttributeError):
        return False
