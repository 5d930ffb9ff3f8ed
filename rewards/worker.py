"""The inside of a worker process of `rewards.workers`: read tasks, answer one line each, die on a spent CPU timer."""

from __future__ import annotations

import atexit
import importlib
import json
import math
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def main(results: int) -> None:
    """Serve tasks from stdin until it closes; answers go to the file descriptor `results`."""
    tasks = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a reward that reads stdin must not eat the next task
    os.close(null)
    for descriptor in (tasks, results):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business: it closes stdin
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    source = os.fdopen(tasks, "rb")
    first = _receive(source)
    if first is None:
        return
    setup, arguments, timeout_s = pickle.loads(first)
    module, _, name = setup.partition(":")
    handler = getattr(importlib.import_module(module), name)(*arguments)
    _answer(results, ["ready"])
    while (message := _receive(source)) is not None:
        for task in pickle.loads(message):
            _answer(results, _one(handler, task, timeout_s))
    atexit._run_exitfuncs()  # what rewards leave to be tidied up; threads are not waited for
    os._exit(0)


def _one(handler: Callable[[Any], Any], task: Any, timeout_s: float) -> list[Any]:
    signal.setitimer(signal.ITIMER_PROF, timeout_s)  # no handler: SIGPROF ends this process
    try:
        value = handler(task)
    except Exception as error:
        return ["error", "raised", error_text(error)]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return ["ok", value]


def error_text(error: Exception) -> str:
    """An exception as one text of bounded length."""
    return f"{type(error).__name__}: {error}"[:2000]


def number(value: Any) -> float | None:
    """A reward's return value as a float, or None.

    Raises:
        TypeError: it is no number. ValueError: it is not finite.
    """
    if value is None:
        return None
    if hasattr(value, "item") and not isinstance(value, (bool, int, float)):
        value = value.item()  # a numpy scalar
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"returned {type(value).__name__}, not a number or None")
    if not math.isfinite(value):
        raise ValueError(f"returned {value}")
    return float(value)


def _receive(source: Any) -> bytes | None:
    head = source.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    body: bytes = source.read(length)
    return body if len(body) == length else None


def _answer(results: int, message: list[Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    try:
        while line:
            line = line[os.write(results, line) :]
    except BrokenPipeError:
        os._exit(0)


def _die_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even while a task sleeps."""
    while os.getppid() == parent:
        time.sleep(0.5)
    sys.stderr.flush()
    os._exit(0)
