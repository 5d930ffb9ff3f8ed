"""The grader's side of the sandbox: fork-servers for each thread that grades, and one child per submission or test."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from rewards.code import cgroup
from rewards.code.types import LEVELS, InfrastructureError, Level, Limits

START_S = 30.0
TOLD_S = 0.1  # how often the server hears that a test was answered
SERVER = Path(__file__).with_name("server.py")
MOST_STRAYS = 1000
Frame = tuple[bytes, bytes]
# What a frame was: nothing awaited; a sign that the work goes on; the answer of a test, judged and not kept; such an
# answer, and no further one is wanted.
Word = Literal["", "sign", "answer", "enough"]
Hear = Callable[[Frame], Word]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one child did. `signal` > 0 if one ended it; `killed`: cpu, idle, wall, output, memory, asked, or empty."""

    output: bytes
    frames: list[Frame]
    exit_status: int
    signal: int
    cpu_s: float
    killed: str


class _Refused(InfrastructureError):
    """The kernel does not allow this mode here; trying again is of no use."""


class Unheard(InfrastructureError):
    """No submission has run yet (the server was dead, or the child ended before it was isolated): ask a new server."""


class Sandbox:
    """A running fork-server. Not for use by two threads at once.

    mode: "namespaces" or "kernel".

    Raises:
        InfrastructureError: the server does not start.
    """

    def __init__(self, mode: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-S", "-X", "utf8", str(SERVER), str(theirs.fileno()), mode]
        try:
            self._process = subprocess.Popen(
                command, env={}, pass_fds=(theirs.fileno(),), start_new_session=True, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            theirs.close()
        self._control = ours
        self._group = _in_a_group(self._process.pid)
        self._closer = weakref.finalize(self, _stop, self._process, ours, self._group, os.getpid())
        ours.settimeout(START_S)
        with contextlib.suppress(OSError):  # a server that is dead already shows in the reply
            ours.send(b"go")
        hello = self._reply()
        if "failed" in hello:
            self.close()
            raise _Refused(hello["failed"])
        self.layers: dict[str, Any] = hello["level"] | {"cgroup": self._group is not None}

    def _reply(self) -> dict[str, Any]:
        try:
            data = self._control.recv(1 << 16)
        except OSError as error:
            raise InfrastructureError(f"the code sandbox does not answer: {error}") from error
        if not data:
            raise InfrastructureError("the code sandbox ended unexpectedly")
        reply: dict[str, Any] = json.loads(data)
        return reply

    def start(
        self,
        payload: dict[str, Any],
        limits: Limits,
        *,
        stdin: bytes | None = None,
        channel: socket.socket | None = None,
        cpu_s: float | None = None,
    ) -> Child:
        """Start one child; with `stdin`, its standard output is kept. `cpu_s`: for all its tests, default one.

        Raises:
            Unheard: the server is dead.
        """
        if self._group is not None:
            try:
                self._group.allow(limits.memory_bytes)
            except OSError as error:
                raise InfrastructureError(f"the control group refuses {limits.memory_bytes} bytes: {error}") from error
        results, results_write = os.pipe()
        payload_file = _memory_file(json.dumps(payload).encode())
        files = {"results": results_write}
        output = -1
        try:
            if stdin is not None:
                files["stdin"] = _memory_file(stdin)
                output, files["stdout"] = os.pipe()
                os.fchmod(output, 0o666)  # `nobody` may open it again as /dev/stdout
            lent = {"payload": payload_file} | ({} if channel is None else {"channel": channel.fileno()})
            names, given = [*files, *lent], [*files.values(), *lent.values()]
            seconds = max(1, int(-(-(cpu_s or limits.cpu_s) // 1)))
            told = {"cpu_s": seconds, "test_cpu_s": limits.cpu_s, "idle_s": limits.idle_s, "wall_s": limits.wall_s,
                    "memory_bytes": limits.memory_bytes, "output_bytes": limits.output_bytes}  # fmt: skip
            socket.send_fds(self._control, [json.dumps({"limits": told, "files": names}).encode()], given)
        except OSError as error:
            for descriptor in (results, output):
                if descriptor >= 0:
                    os.close(descriptor)
            os.close(payload_file)
            raise Unheard(f"the code sandbox is gone: {error}") from error
        finally:
            for descriptor in files.values():
                os.close(descriptor)
        return Child(self, payload_file, output, results, limits, seconds)

    def close(self) -> None:
        """End the server and whatever runs in it. Idempotent."""
        self._closer()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something here because the control group was out of memory."""
        return self._group is not None and self._group.ran_out()


class Child:
    """A running child: what it writes is read up to a cap until the server reports its end."""

    def __init__(self, server: Sandbox, payload: int, output: int, results: int, limits: Limits, cpu_s: int) -> None:
        self._server, self._limits, self._cpu_s = server, limits, cpu_s
        self._control = server._control
        self._payload, self._output, self._results = payload, output, results
        self._told, self._strays = time.monotonic(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ignored: object) -> None:
        for descriptor in (self._payload, self._output, self._results):
            if descriptor >= 0:
                os.close(descriptor)

    def kill(self) -> None:
        """Ask the server to end this child; `wait` still has to be called."""
        with contextlib.suppress(OSError):
            self._control.send(b"kill")

    def wait(self, hear: Hear = lambda frame: "") -> Outcome:
        """Read until the end. `hear` judges every frame as it comes; each answer has its own allowance of bytes.

        Raises:
            InfrastructureError: the server died, or the child was not isolated, or something else killed it.
        """
        output, frames, killed = bytearray(), _Frames(self._limits.output_bytes + 8192), ""
        heard: list[Frame] = []
        poll = select.poll()
        opened = {descriptor for descriptor in (self._output, self._results) if descriptor >= 0}
        for descriptor in (*opened, self._control.fileno()):
            poll.register(descriptor, select.POLLIN)
        reply: dict[str, Any] | None = None
        while reply is None or opened:
            events = poll.poll((self._limits.wall_s + START_S) * 1000)
            if not events:
                raise InfrastructureError("the code sandbox is stuck")
            for descriptor, _ in events:
                if descriptor not in (self._output, self._results):
                    reply = self._reply()
                    poll.unregister(descriptor)
                    continue
                piece = os.read(descriptor, 1 << 16)
                why = ""
                if descriptor == self._output:
                    output += piece
                    why = "output" if len(output) > self._limits.output_bytes else ""
                elif piece:
                    why = self._new_frames(frames, piece, heard, hear)
                if why and not killed:
                    killed = why
                    if reply is None:
                        self.kill()
                if not piece or killed:
                    opened.discard(descriptor)
                    poll.unregister(descriptor)
        return self._outcome(bytes(output), heard, killed, reply)

    def _reply(self) -> dict[str, Any]:
        try:
            return self._server._reply()
        except InfrastructureError as error:
            if os.lseek(self._payload, 0, os.SEEK_CUR) == 0:  # the child shares this position
                raise Unheard(str(error)) from error
            raise

    def _new_frames(self, frames: _Frames, piece: bytes, heard: list[Frame], hear: Hear) -> str:
        """Take in a piece of the result pipe; why the child should end now, if it should."""
        for frame in frames.add(piece):
            word = hear(frame)
            if word == "enough":
                return "asked"
            if word == "answer":
                frames.renew()
            else:
                heard.append(frame)
                self._strays += not word
            now = time.monotonic()
            if word and now - self._told > TOLD_S:
                self._told = now
                with contextlib.suppress(OSError):
                    self._control.send(b"next")
        return "output" if frames.left < 0 or self._strays > MOST_STRAYS else ""

    def _outcome(self, output: bytes, frames: list[Frame], killed: str, reply: dict[str, Any]) -> Outcome:
        if "failed" in reply:
            raise InfrastructureError(f"the code sandbox cannot start a child: {reply['failed']}")
        status, cpu_s = reply["status"], reply["cpu_s"]
        if not reply["isolated"]:
            raise Unheard(
                f"the child was not isolated (status {status}{', ' if reply['killed'] else ''}{reply['killed']})"
            )
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        killed = killed or reply["killed"]
        if number == 9 and not killed:
            if self._server.ran_out_of_memory():
                return Outcome(output, frames, -1, number, cpu_s, "memory")
            if cpu_s < self._cpu_s:  # the server ends who has used up its time, and says so
                raise InfrastructureError("the child was killed from outside (by hand, or out of memory)")
            killed = "cpu"
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        return Outcome(output, frames, code, number, cpu_s, killed)


class _Frames:
    """Frames of a result pipe, as far as they are whole; `left`: the bytes that may still come."""

    def __init__(self, most_bytes: int) -> None:
        self._rest, self._most, self.left = bytearray(), most_bytes, most_bytes

    def add(self, piece: bytes) -> list[Frame]:
        self.left -= len(piece)
        self._rest += piece
        whole, position = [], 0
        while position + 5 <= len(self._rest):
            end = position + 4 + int.from_bytes(self._rest[position : position + 4], "little")
            if end < position + 5 or end > len(self._rest):
                break
            whole.append((bytes(self._rest[position + 4 : position + 5]), bytes(self._rest[position + 5 : end])))
            position = end
        del self._rest[:position]
        return whole

    def renew(self) -> None:
        """The next answer may be as large again."""
        self.left = self._most - len(self._rest)


def _in_a_group(pid: int) -> cgroup.ControlGroup | None:
    group = cgroup.make()
    if group is not None:
        try:
            group.add(pid)
        except OSError:
            group.remove()
            return None
    return group


def _stop(
    process: subprocess.Popen[bytes], control: socket.socket, group: cgroup.ControlGroup | None, owner: int
) -> None:
    if os.getpid() != owner:  # a forked copy of the grader: the server is not its to stop
        return
    control.close()  # the server sees the end of its control socket, kills its child and leaves
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if group is not None:
        group.remove()


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("r1", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


_LOCAL = threading.local()
_REFUSED: dict[str, str] = {}  # why namespaces cannot be had here; found out once for each process


def sandbox(role: str = "submission") -> Sandbox:
    """This thread's sandbox; started on first use, replaced after a failure (also after a fork of this process).

    role: submissions and examiners have a server each, so that expected values never share a process tree with the
    submission that is graded.
    """
    current: Sandbox | None = getattr(_LOCAL, role, None)
    ours = getattr(_LOCAL, "owner", None) == os.getpid()
    if not ours:
        _LOCAL.__dict__.clear()
        _LOCAL.owner = os.getpid()
        current = None
    if current is None or not current.alive:
        if current is not None:
            current.close()
        current = _start()
        setattr(_LOCAL, role, current)
    return current


def _start() -> Sandbox:
    """Namespaces where the machine allows them, else what every kernel has."""
    if not _REFUSED:
        try:
            return Sandbox("namespaces")
        except _Refused as error:
            _REFUSED["namespaces"] = str(error)
    return Sandbox("kernel")


def discard() -> None:
    """Close this thread's sandboxes (after an infrastructure error); the next use starts new ones."""
    if getattr(_LOCAL, "owner", None) != os.getpid():
        return
    for role in ("submission", "examiner"):
        current: Sandbox | None = _LOCAL.__dict__.pop(role, None)
        if current is not None:
            current.close()


def level_name(layers: dict[str, Any]) -> Level:
    """The level that a set of layers amounts to."""
    confined = bool(layers["seccomp"]) and layers["no_new_privs"] and layers["capabilities_dropped"]
    if confined and layers["namespaces"]:
        return "namespaces"
    if confined and layers["landlock"]:
        return "kernel"
    return "partial" if layers["seccomp"] or layers["landlock"] or layers["namespaces"] else "none"


def sandbox_level() -> dict[str, Any]:
    """Which isolation this machine gives, tried rather than assumed.

    Keys: `name` (a `Level`), `namespaces` (names), `private_files`, `seccomp`, `landlock` (ABI version, 0 without),
    `no_new_privs`, `capabilities_dropped`, `rlimits`, `cgroup`, and `refused`: why there are no namespaces, or "".
    """
    layers = sandbox().layers
    return {"name": level_name(layers), "rlimits": True, **layers, "refused": _REFUSED.get("namespaces", "")}


def require_level(minimum: Level) -> None:
    """Raises InfrastructureError where this machine gives less than `minimum`."""
    name = level_name(sandbox().layers)
    if LEVELS.index(name) < LEVELS.index(minimum):
        why = f" ({_REFUSED['namespaces']})" if minimum == "namespaces" and _REFUSED else ""
        raise InfrastructureError(f"the code sandbox reaches level {name!r} here, {minimum!r} is asked for{why}")
