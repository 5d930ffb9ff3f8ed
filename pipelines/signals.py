"""Ctrl-C, `kill` and a closed terminal end a run in one way: KeyboardInterrupt, once, and never in the clean-up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """`asked` stays true after a signal, even where a library swallowed the KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False
        self.cleaning = False
        self._pid = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked child: behave as if this handler were not there
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.asked = True
        if not self.cleaning:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Install the handler for the time of a run. Outside the main thread it only stands by."""
    handler = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
