"""A folder that survives a kill, for rewards that keep something between calls (a judge's verdicts).

The scorer names it to its workers; in a plain process there is none.
"""

from __future__ import annotations

from pathlib import Path

_folder: Path | None = None


def use(folder: str | Path | None) -> None:
    """Called in a worker, before the first reward."""
    global _folder
    _folder = None if folder is None else Path(folder)


def folder() -> Path | None:
    """The stage's folder for rewards (it may not exist yet), or None outside a stage."""
    return _folder
