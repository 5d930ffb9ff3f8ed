"""Isolation of one process by the kernel, once it is forked; loaded inside the fork-server, standard library only.

Layers that exist wherever a recent kernel is: resource limits, no capabilities, `no_new_privs`, Landlock (the standard
library to read, no other file, no TCP, no signal out) and the seccomp filter of `seccomp.py`. What needs namespaces is
in `namespaces.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIRECTORY, WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")


def call(function: Any, *arguments: Any) -> int:
    """A C function that returns -1 and sets errno on failure; raises OSError then."""
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
    return result


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def landlock_version() -> int:
    """The Landlock ABI of this kernel; 0 without."""
    return max(0, int(LIBC.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def landlock_rules(version: int, readable: list[str], scratch: str | None) -> int:
    """A ruleset (file descriptor): read below `readable`, everything below `scratch`, nothing else, no TCP."""
    files = (1 << 13) - 1  # all file rights of ABI 1
    files |= (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0) | (1 << 15 if version >= 5 else 0)
    attributes = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = call(LIBC.syscall, LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    for path in [*readable, *([scratch] if scratch else [])]:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = READ_FILE | READ_DIRECTORY if os.path.isdir(path) else READ_FILE
            if path in DEVICES:
                rights |= WRITE_FILE | (1 << 14 if version >= 3 else 0)
            elif path == scratch:
                rights = files & ~((1 << 0) | (1 << 6) | (1 << 11) | (1 << 15))  # no exec, no device nodes, no ioctl
            call(LIBC.syscall, LANDLOCK_ADD, rules, 1, struct.pack("<Qi", rights, handle), 0)
            os.close(handle)
    return rules


def readable_paths() -> list[str]:
    """What a program may read: the standard library, shared libraries, time zones, and harmless devices."""
    paths = {path for path in sys.path if os.path.isdir(path)} | {os.path.dirname(os.__file__)}
    paths |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/localtime"}
    paths |= {"/etc/ld.so.cache", os.path.join(sys.base_prefix, "lib")}
    return sorted(path for path in paths | set(DEVICES) if os.path.exists(path))


def die_with(parent: int) -> None:
    """SIGKILL for this process when `parent` ends; raises OSError if it is gone already."""
    call(LIBC.prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        raise OSError("the parent process is gone")


class Isolation:
    """What a child applies to itself: prepared once by the server, so that a child has little left to do.

    level: the layers to apply (`seccomp`, `landlock`, `no_new_privs`, `capabilities_dropped`, `private_files`).
    """

    def __init__(self, level: dict[str, Any], filter_: bytes | None) -> None:
        self.level = dict(level)
        self._program = _Program(len(filter_) // 8, filter_) if filter_ is not None else None
        self._no_capabilities = struct.pack("<Ii", 0x20080522, 0), bytes(24)

    def apply(self, limits: dict[str, Any], rules: int | None) -> None:
        """Apply every layer of the level to this process; an OSError means that it must not go on.

        rules: the descriptor of the Landlock ruleset in this process; closed afterwards.
        """
        self._limit(limits)
        call(LIBC.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
        if self.level["capabilities_dropped"]:
            call(LIBC.capset, *self._no_capabilities)
        if self.level["no_new_privs"]:
            call(LIBC.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self.level["landlock"]:
            call(LIBC.syscall, LANDLOCK_RESTRICT, rules, 0)
        if rules is not None:
            os.close(rules)
        if self.level["seccomp"]:
            assert self._program is not None
            call(LIBC.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(self._program), 0, 0)

    def _limit(self, limits: dict[str, Any]) -> None:
        set_limit = resource.setrlimit
        # The server watches CPU time by exact accounts. This limit goes by samples of the clock, which a program can
        # meet without computing: it stands where no sampling on any number of cores gets within the wall time.
        cpu, own = int(2 * limits["wall_s"] + 60) * (os.cpu_count() or 1), resource.getrlimit(resource.RLIMIT_CPU)[1]
        cpu = cpu if own == resource.RLIM_INFINITY else min(cpu, own)
        output = limits["output_bytes"]
        set_limit(resource.RLIMIT_CPU, (cpu, cpu))  # soft = hard: SIGKILL, which the first process of a namespace obeys
        set_limit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
        set_limit(resource.RLIMIT_FSIZE, (output, output))
        set_limit(resource.RLIMIT_NOFILE, (64, 64))
        set_limit(resource.RLIMIT_CORE, (0, 0))
        set_limit(resource.RLIMIT_MSGQUEUE, (0, 0))
        set_limit(resource.RLIMIT_MEMLOCK, (0, 0))
        if self.level["private_files"]:
            set_limit(resource.RLIMIT_NPROC, (256, 256))  # threads, counted in the namespace alone
        elif not self.level["seccomp"]:
            set_limit(resource.RLIMIT_NPROC, (0, 0))
