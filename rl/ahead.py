"""The next batch of rollouts, drawn while this one trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """One piece of work at a time, always in the same thread. Who uses what the work uses (the engine) waits first.

    waited: seconds that somebody has waited for the work that was taken last.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollout-ahead")
        self._work: Future[T] | None = None
        self._waited = self.waited = 0.0
        self._closed = False

    @property
    def busy(self) -> bool:
        return self._work is not None and not self._work.done()

    def start(self, work: Callable[[], T]) -> None:
        """Begin; what was begun before must have been taken."""
        assert self._work is None, "the batch drawn ahead was never taken"
        self._work = self._thread.submit(work)

    def wait(self) -> None:
        """Return once nothing is at work. A failure is kept for `take`."""
        began = time.perf_counter()
        if self._work is not None:
            wait([self._work])
        self._waited += time.perf_counter() - began

    def check(self) -> None:
        """For the work to ask: CancelledError once nobody waits for it any more."""
        if self._closed:
            raise CancelledError("nobody waits for this work any more")

    def take(self) -> T | None:
        """What was begun last, when it is done; None if nothing was. Raises what the work raised."""
        self.wait()
        self.waited, self._waited = self._waited, 0.0
        work, self._work = self._work, None
        return None if work is None else work.result()

    def close(self) -> None:
        """Wait, and forget what was not taken: an engine must not be closed under a generation."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
