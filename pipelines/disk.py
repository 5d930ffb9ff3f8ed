"""Tells a full disk from other failures, and says which disk it is."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.store_care import size_text

FULL = (errno.ENOSPC, errno.EDQUOT)


def full_disk(error: BaseException | None, folder: Path) -> str:
    """One line about the full disk behind an error (or behind what led to it); '' where there was none.

    folder: what was being written to, where the error does not say.
    """
    for one in _chain(error):
        code = one.errno if isinstance(one, OSError) else None
        # safetensors' errors are text only; their number is that of the operating system
        if code in FULL or any(f"os error {number}" in str(one) for number in FULL):
            named = one.filename if isinstance(one, OSError) else None
            candidates = [Path(named)] if isinstance(named, str) else [folder, Path(tempfile.gettempdir())]
            place = min(map(_existing, candidates), key=lambda path: shutil.disk_usage(path).free)
            disk = shutil.disk_usage(place)
            told = str(one.strerror) if isinstance(one, OSError) and one.strerror else "No space left on device"
            told = (
                told if "free" in told else f"no space left, {size_text(disk.free)} of {size_text(disk.total)} free now"
            )
            return f"the disk of {place} (mounted at {_mount(place)}) is full: {told}"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _mount(place: Path) -> Path:
    place = place.resolve()
    while not place.is_mount():
        place = place.parent
    return place
