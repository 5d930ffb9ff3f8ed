"""Tasks that come while earlier ones are being worked on."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Self


class Incoming:
    """Any thread adds tasks and ends the row of them; one `WorkerPool.run` takes them. `wake` is a file descriptor
    that can be read once something has happened."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self.wake, self._write = os.pipe()
        for end in (self.wake, self._write):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)
        self._ended = self.stopped = False

    @classmethod
    def of(cls, tasks: Iterable[Any]) -> Self:
        """Exactly these tasks."""
        incoming = cls()
        incoming.add(*tasks)
        incoming.end()
        return incoming

    @property
    def more(self) -> bool:
        """Whether further tasks may come, or are here and not taken."""
        return not self._ended or not self._queue.empty()

    def add(self, *tasks: Any) -> None:
        assert not self._ended, "no task comes after the end"
        for task in tasks:
            self._queue.put(task)
        self._ring()

    def end(self) -> None:
        """No task will come any more."""
        self._ended = True
        self._ring()

    def stop(self) -> None:
        """Nobody waits for any of it: what is being worked on is given up."""
        self.stopped = True
        self.end()

    def take(self) -> list[Any]:
        """The tasks that have come since the last call."""
        with suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass
        taken = []
        with suppress(Empty):
            while True:
                taken.append(self._queue.get_nowait())
        return taken

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # so many unheard rings that one more says nothing new
            os.write(self._write, b"!")
