"""The next batch of rollouts, drawn while this one trains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """One piece of work at a time in a thread of its own.

    The same thread for the whole run: the sandbox's servers end with the thread that started them. Who uses what the
    work uses (the engine) waits for it first.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollout-ahead")
        self._work: Future[T] | None = None

    def start(self, work: Callable[[], T]) -> None:
        """Begin; what was begun before must have been taken."""
        assert self._work is None, "the batch drawn ahead was never taken"
        self._work = self._thread.submit(work)

    def wait(self) -> None:
        """Return once nothing is at work. A failure is kept for `take`."""
        if self._work is not None:
            wait([self._work])

    def take(self) -> T | None:
        """What was begun last, when it is done; None if nothing was. Raises what the work raised."""
        work, self._work = self._work, None
        return None if work is None else work.result()

    def close(self) -> None:
        """Wait, and forget what was not taken: an engine must not be closed under a generation."""
        self._thread.shutdown(wait=True, cancel_futures=True)
