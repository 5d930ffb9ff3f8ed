"""Namespaces around the fork-server: user, pid, net, ipc, uts and mount; standard library only.

The server enters them once. As root its processes become the host's `nobody`; as an ordinary user they stay that user.
Its root directory is an empty read-only tmpfs onto which the interpreter's libraries are bound read-only, with a small
tmpfs `/tmp` to write in. Each child then gets a pid namespace of its own, in which it is alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
ALL = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
NAMES = ["user", "pid", "net", "ipc", "uts", "mount"]
NOBODY = 65534
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR, PIVOT_ROOT = 428, 429, 442, {"x86_64": 155, "aarch64": 41}
TREE_FLAGS = 0x1 | 0x8000 | 0o2000000  # OPEN_TREE_CLONE, AT_RECURSIVE, OPEN_TREE_CLOEXEC
MOVE_FROM_EMPTY, AT_EMPTY, AT_RECURSIVE, HERE = 0x4, 0x1000, 0x8000, -100
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 0x1, 0x2, 0x4
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 8, 0x4000, 0x40000, 2
BASE = "/tmp"  # hidden by the new root while that is built, in our own view alone
SCRATCH, SCRATCH_OPTIONS = "/tmp", b"size=16m,nr_inodes=1000,mode=1777"


def enter(isolate: Any) -> int:
    """Go into new namespaces; the caller goes on as their first process, this process waits for its end.

    Returns:
        A directory descriptor of the /proc of the new pid namespace.

    Raises:
        OSError: the kernel, a security module or a container's profile does not allow it.
    """
    if any(path == SCRATCH or path.startswith(SCRATCH + "/") for path in isolate.readable_paths()):
        raise OSError(f"the interpreter's libraries are in {SCRATCH}, where the scratch directory goes")
    uid, gid = os.geteuid(), os.getegid()
    mine = os.getpid()
    if uid == 0:
        os.setgroups([])
    helper, go = _mapper(mine, uid, gid)
    try:
        isolate.call(isolate.LIBC.unshare, ALL)
    finally:
        os.close(go)
        done = os.waitpid(helper, 0)[1]
    if done:
        raise OSError("the user namespace cannot be given its uid map")
    first = os.fork()
    if first:
        _wait_for(first)
    return _private_root(isolate)


def _mapper(target: int, uid: int, gid: int) -> tuple[int, int]:
    """A process outside, which writes the maps of `target` once the returned descriptor closes."""
    wait, go = os.pipe()
    helper = os.fork()
    if helper:
        os.close(wait)
        return helper, go
    try:
        os.close(go)
        os.read(wait, 1)
        outside_uid, outside_gid = (NOBODY, NOBODY) if uid == 0 else (uid, gid)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {outside_uid} 1"),
            ("gid_map", f"0 {outside_gid} 1"),
        ):
            with open(f"/proc/{target}/{name}", "w") as file:
                file.write(text)
        os._exit(0)
    except BaseException:
        os._exit(1)


def _wait_for(first: int) -> None:
    """Outside: nothing is left to do but to end when the server ends. (The server needs nothing of this process.)"""
    os.closerange(0, 4096)
    status = os.waitpid(first, 0)[1]
    os._exit(0 if status == 0 else 1)


def _private_root(isolate: Any) -> int:
    """Replace the file system view; files are opened before and attached after this process changes its user."""
    libc, call = isolate.LIBC, isolate.call

    def mount(source: bytes, target: str, kind: bytes | None, flags: int, options: bytes | None) -> None:
        call(libc.mount, source, target.encode(), kind, ctypes.c_ulong(flags), options)

    mount(b"none", "/", None, MS_REC | MS_PRIVATE, None)
    trees: list[tuple[str, bool, int]] = []
    for path in isolate.readable_paths():
        tree = call(libc.syscall, OPEN_TREE, HERE, path.encode(), TREE_FLAGS)
        flags = ATTR_RDONLY | ATTR_NOSUID | (0 if path in isolate.DEVICES else ATTR_NODEV)
        _set_attributes(isolate, tree, flags, AT_EMPTY | AT_RECURSIVE)
        trees.append((path, os.path.isdir(path), tree))
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    mount(b"tmpfs", BASE, b"tmpfs", MS_NOSUID | MS_NODEV, b"size=1m,mode=755")
    for path, directory, tree in trees:
        target = BASE + path
        os.makedirs(target if directory else os.path.dirname(target), exist_ok=True)
        if not directory:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        call(libc.syscall, MOVE_MOUNT, tree, b"", HERE, target.encode(), MOVE_FROM_EMPTY)
        os.close(tree)
    for name in ("/proc", SCRATCH):
        os.makedirs(BASE + name, exist_ok=True)
    mount(b"proc", BASE + "/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    proc = os.open(BASE + "/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    call(libc.umount2, (BASE + "/proc").encode(), MNT_DETACH)
    with contextlib.suppress(OSError):  # for /dev/stdin: a view in which a program finds itself alone
        mount(b"proc", BASE + "/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"hidepid=4,subset=pid")
        os.symlink("/proc/self/fd/0", BASE + "/dev/stdin")
        os.symlink("/proc/self/fd/1", BASE + "/dev/stdout")
    os.chdir(BASE)
    call(libc.syscall, PIVOT_ROOT[os.uname().machine], b".", b".")
    call(libc.umount2, b".", MNT_DETACH)
    os.chdir("/")
    _set_attributes(isolate, HERE, ATTR_RDONLY, 0)
    mount(b"tmpfs", SCRATCH, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SCRATCH_OPTIONS)
    return proc


def _set_attributes(isolate: Any, tree: int, attributes: int, flags: int) -> None:
    wanted = struct.pack("<QQQQ", attributes, 0, 0, 0)
    path = b"" if tree >= 0 else b"/"
    isolate.call(isolate.LIBC.syscall, MOUNT_SETATTR, tree, path, flags, wanted, ctypes.c_size_t(len(wanted)))


class Rooms:
    """The server's side of what each child finds new: a pid namespace and an empty scratch directory."""

    def __init__(self, isolate: Any, proc: int) -> None:
        self._isolate = isolate
        self._own = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        self._clean = _state()

    def open(self) -> None:
        """The next fork starts a pid namespace."""
        self._isolate.call(self._isolate.LIBC.unshare, CLONE_NEWPID)

    def close(self) -> None:
        """Later forks are in the server's namespace again."""
        self._isolate.call(self._isolate.LIBC.setns, self._own, CLONE_NEWPID)

    def sweep(self) -> bool:
        """After a child's end: a fresh scratch directory, if anything was ever done to this one. True if so."""
        if _state() == self._clean:
            return False
        libc, call = self._isolate.LIBC, self._isolate.call
        call(libc.umount2, SCRATCH.encode(), MNT_DETACH)
        flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC)
        call(libc.mount, b"tmpfs", SCRATCH.encode(), b"tmpfs", flags, SCRATCH_OPTIONS)
        self._clean = _state()
        return True


def _state() -> tuple[int, int, int]:
    found = os.stat(SCRATCH)
    return found.st_ctime_ns, found.st_mode, len(os.listdir(SCRATCH))
