"""The grader's side of the sandbox: one fork-server for each thread that grades, and one child per submission."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards.code.types import InfrastructureError, Limits

START_S = 30.0
SERVER = Path(__file__).with_name("server.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one child did. `signal` > 0 if a signal ended it; `killed`: wall, idle, output, or empty."""

    output: bytes
    frames: list[tuple[bytes, bytes]]
    exit_status: int
    signal: int
    cpu_s: float
    killed: str


class Sandbox:
    """A running fork-server. Not for use by two threads at once."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        empty = tempfile.mkdtemp(prefix="r1-sandbox-")
        command = [sys.executable, "-I", "-S", "-X", "utf8", str(SERVER), str(theirs.fileno()), empty]
        try:
            self._process = subprocess.Popen(
                command, env={}, pass_fds=(theirs.fileno(),), start_new_session=True, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            theirs.close()
        self._control = ours
        self._closer = weakref.finalize(self, _stop, self._process, ours, empty, os.getpid())
        ours.settimeout(START_S)
        self.level: dict[str, Any] = self._reply()["level"]

    def _reply(self) -> dict[str, Any]:
        try:
            data = self._control.recv(1 << 16)
        except (OSError, TimeoutError) as error:
            raise InfrastructureError(f"the code sandbox does not answer: {error}") from error
        if not data:
            raise InfrastructureError("the code sandbox ended unexpectedly")
        reply: dict[str, Any] = json.loads(data)
        return reply

    def run(self, payload: dict[str, Any], stdin: bytes, limits: Limits) -> Outcome:
        """Run one child to its end.

        Raises:
            InfrastructureError: the server died, or the child could not be started and isolated.
        """
        out, out_write = os.pipe()
        results, results_write = os.pipe()
        memory = [_memory_file(json.dumps(payload).encode()), _memory_file(stdin)]
        try:
            message = json.dumps({"limits": asdict(limits)}).encode()
            try:
                socket.send_fds(self._control, [message], [*memory, out_write, results_write])
            except OSError as error:
                raise InfrastructureError(f"the code sandbox is gone: {error}") from error
            for descriptor in (out_write, results_write, *memory):
                os.close(descriptor)
            memory, out_write, results_write = [], -1, -1
            return self._watch(out, results, limits)
        finally:
            for descriptor in (out, results, out_write, results_write, *memory):
                if descriptor >= 0:
                    os.close(descriptor)

    def _watch(self, out: int, results: int, limits: Limits) -> Outcome:
        """Read both pipes up to their caps until the server reports the child's end."""
        data = {out: bytearray(), results: bytearray()}
        caps = {out: limits.output_bytes, results: limits.output_bytes + 8192}
        poll = select.poll()
        for descriptor in (out, results, self._control.fileno()):
            poll.register(descriptor, select.POLLIN)
        killed = ""
        reply: dict[str, Any] | None = None
        opened = {out, results}
        while reply is None or opened:
            events = poll.poll((limits.wall_s + START_S) * 1000)
            if not events:
                raise InfrastructureError("the code sandbox is stuck")
            for descriptor, _ in events:
                if descriptor not in data:
                    reply = self._reply()
                    poll.unregister(descriptor)
                    continue
                piece = os.read(descriptor, 1 << 16)
                if piece and len(data[descriptor]) < caps[descriptor]:
                    data[descriptor] += piece
                elif piece:
                    killed = killed or "output"
                    if reply is None:
                        self._control.send(b"{}")
                if not piece or killed:
                    opened.discard(descriptor)
                    poll.unregister(descriptor)
        if "failed" in reply:
            raise InfrastructureError(f"the code sandbox cannot start a child: {reply['failed']}")
        status = reply["status"]
        frames = list(_frames(bytes(data[results])))
        if not frames or frames[0][0] != b"R":
            raise InfrastructureError(f"the child was not isolated (status {status})")
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        killed = killed or (reply["killed"] if reply["killed"] != "asked" else "")
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        return Outcome(bytes(data[out]), frames[1:], code, number, reply["cpu_s"], killed)

    def close(self) -> None:
        """End the server and whatever runs in it. Idempotent."""
        self._closer()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def _stop(process: subprocess.Popen[bytes], control: socket.socket, empty: str, owner: int) -> None:
    if os.getpid() != owner:  # a forked copy of the grader: the server is not its to stop
        return
    control.close()  # the server sees the end of its control socket, kills its child and leaves
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(OSError):
        os.rmdir(empty)


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("r1", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _frames(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 5 <= len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        if size < 1 or position + 4 + size > len(data):
            return
        yield data[position + 4 : position + 5], data[position + 5 : position + 4 + size]
        position += 4 + size


_LOCAL = threading.local()


def sandbox() -> Sandbox:
    """This thread's sandbox; started on first use, replaced after a failure (also after a fork of this process)."""
    current: Sandbox | None = getattr(_LOCAL, "sandbox", None)
    if current is None or getattr(_LOCAL, "owner", None) != os.getpid() or not current.alive:
        if current is not None and getattr(_LOCAL, "owner", None) == os.getpid():
            current.close()
        _LOCAL.sandbox = current = Sandbox()
        _LOCAL.owner = os.getpid()
    return current


def discard() -> None:
    """Close this thread's sandbox (after an infrastructure error); the next use starts a new one."""
    current: Sandbox | None = getattr(_LOCAL, "sandbox", None)
    _LOCAL.sandbox = None
    if current is not None and getattr(_LOCAL, "owner", None) == os.getpid():
        current.close()


def sandbox_level() -> dict[str, Any]:
    """Which isolation layers this machine gives, for `r1 doctor`.

    Keys: `name` (full: seccomp + Landlock; partial; none: run nothing hostile here), `namespaces`, `seccomp`,
    `landlock` (ABI version, 0 without), `no_new_privs`, `capabilities_dropped`, `rlimits`.
    """
    level = sandbox().level
    kernel = bool(level["seccomp"]) and bool(level["landlock"])
    name = "full" if kernel else "partial" if level["seccomp"] or level["landlock"] else "none"
    return {"name": name, "rlimits": True, **level}
