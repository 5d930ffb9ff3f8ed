"""What happens in a run, as events for machines: `r1 run --log json` prints them, trackers take the numbers from them.

Every event is a JSON object with `event` and `time` (s since the epoch); the kinds, and what else they hold:

    run      name, file, seed, stages
    stage    stage, use, status (running, done, cached, failed, stopped, interrupted), and key, wall_s, metrics, error
    resumed  stage, step: it goes on from a checkpoint; lines up to this step are those of an earlier process
    step     stage, step, and the numbers that the stage logs
    message  text, and stage where it is about one
    warning  text
    result   status, exit, folder, scores, or errors: always the last line
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal

from pipelines.source import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

Event = dict[str, Any]
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listens to nothing."""


class JsonLines:
    """Takes standard output for events alone: from now on, whatever else is written there goes to standard error.

    That holds for libraries and child processes too: it is done with the file descriptor.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        self._file: IO[str] | None = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __call__(self, event: Event) -> None:
        if self._file is None:
            return
        line = json.dumps({"event": event["event"], "time": round(time.time(), 3), **_finite(event)}, default=str)
        try:
            print(line, file=self._file, flush=True)
        except OSError:  # nobody reads any more, or the disk is full: no reason to lose the run
            self._file = None


def _finite(value: Any) -> Any:
    """NaN and infinity, which JSON does not know, as null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Enduring:
    """Standard output for a run's lines. When it is gone (`| head`, a full disk) the run goes on and writes to nowhere.

    With the file descriptor, so that what libraries and child processes print, and what is still buffered at the end
    of the process, goes there too.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except OSError:
            discard(self._file)
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            discard(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def discard(file: IO[str]) -> None:
    """Whatever is written to this file from now on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


@contextmanager
def reporting(how: Literal["text", "json"]) -> Iterator[tuple[Console, Listener]]:
    """(console for lines to people, listener for events); one of the two is silent."""
    from rich.console import Console

    from pipelines.cli_stages import console

    if how == "text":
        yield console(), silent
        return
    tell = JsonLines()
    shown = warnings.showwarning

    def warn(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        tell({"event": "warning", "text": f"{category.__name__}: {message}"})

    warnings.showwarning = warn
    try:
        yield Console(quiet=True), tell
    except ConfigError as error:
        tell({"event": "result", "status": "invalid", "exit": 2, "errors": error.lines})
        raise
    finally:
        warnings.showwarning = shown
