"""A control group around a fork-server and its children, where this process may make one: memory and processes.

Both versions are known: v2 with the controllers handed down, v1 with a writable hierarchy for each. In an ordinary
container the hierarchy is read-only, and an ordinary user owns none: then there is no group, and the limits that each
child sets for itself stand alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
PREFIX = "r1-sandbox-"
MOST_PROCESSES = 512
BESIDE_BYTES = 256 << 20  # the server, the scratch directory, what the kernel keeps for them
_NUMBERS = itertools.count()


class ControlGroup:
    """Folders of one group (v2: one; v1: one for memory and one for processes)."""

    def __init__(self, memory: Path, processes: Path) -> None:
        self._memory, self._processes = memory, processes
        self._most_bytes = 0
        self._limit_file = memory / ("memory.max" if memory == processes else "memory.limit_in_bytes")
        self._oom_file = memory / ("memory.events" if memory == processes else "memory.oom_control")
        (processes / "pids.max").write_text(str(MOST_PROCESSES))
        self.allow(1 << 30)
        self._ooms = self._count_ooms()

    def allow(self, memory_bytes: int) -> None:
        """Raise the limit to what a child may use; raises OSError where the kernel refuses."""
        if memory_bytes > self._most_bytes:
            self._most_bytes = memory_bytes
            self._limit_file.write_text(str(memory_bytes + BESIDE_BYTES))

    def add(self, pid: int) -> None:
        """Put a process, and what it forks from now on, into the group."""
        for folder in {self._memory, self._processes}:
            (folder / "cgroup.procs").write_text(str(pid))

    def ran_out(self) -> bool:
        """Whether the kernel has killed something in here for its memory since the last question."""
        before, self._ooms = self._ooms, self._count_ooms()
        return self._ooms > before

    def _count_ooms(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            words = self._oom_file.read_text().split()
            return int(words[words.index("oom_kill") + 1])
        return 0

    def remove(self) -> None:
        """Once its processes have ended; a moment of patience for those that are ending."""
        for folder in {self._memory, self._processes}:
            _remove(folder, patience_s=2.0)


def make() -> ControlGroup | None:
    """A new group below this process's own, or None where that is not allowed."""
    parents = _own_groups()
    if parents is None:
        return None
    for parent in set(parents):
        _sweep(parent)
    name = f"{PREFIX}{os.getpid()}-{next(_NUMBERS)}"
    made = [parent / name for parent in parents]
    try:
        for folder in made:
            folder.mkdir(exist_ok=True)
        return ControlGroup(*made)
    except OSError:
        for folder in made:
            _remove(folder, patience_s=0.0)
        return None


def _own_groups() -> tuple[Path, Path] | None:
    """This process's folders in the hierarchies of memory and pids."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    own = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}
    if "memory" in own and "pids" in own:
        return MOUNTED / "memory" / own["memory"], MOUNTED / "pids" / own["pids"]
    return (MOUNTED / own[""], MOUNTED / own[""]) if "" in own else None


def _sweep(parent: Path) -> None:
    """Remove groups of graders that were killed."""
    with contextlib.suppress(OSError):
        for folder in parent.glob(PREFIX + "*"):
            owner = folder.name.removeprefix(PREFIX).partition("-")[0]
            if not os.path.exists(f"/proc/{owner}"):
                _remove(folder, patience_s=0.0)


def _remove(folder: Path, *, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while folder.exists():
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > until:
            return
        time.sleep(0.01)
