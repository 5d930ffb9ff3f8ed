"""What a training loop tells the stage around it. No torch here."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """Takes the numbers of a step."""

    def __call__(self, step: int, **numbers: Any) -> None: ...


class Bar(Protocol):
    """A progress bar: `n` units more are done."""

    def advance(self, n: int = 1, **fields: Any) -> None: ...
