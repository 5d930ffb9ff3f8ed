"""The fork-server: an interpreter with the common modules loaded, which forks one isolated child per request.

Started as `python -I -S server.py CONTROL MODE` with an empty environment, standard library only; MODE is `namespaces`
or `kernel`. It never sees an expected value: a request is one datagram `{"limits": ..., "files": [names]}` with a
descriptor for each name, and the child alone reads them. The server watches the child (CPU, idleness, wall clock, a
word from the grader) and answers with the wait status and the CPU time it took.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

MODULES = (
    "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "heapq", "io", "itertools", "math", "operator", "queue", "random", "re", "statistics",
    "string", "textwrap", "threading", "traceback", "types", "typing", "unicodedata",
)  # fmt: skip
STACK = 256 << 20  # the main thread's stack limit only takes effect at exec
TICK_MS = 250
TRIAL = {"wall_s": 1, "memory_bytes": 2 << 30, "output_bytes": 1 << 20}


def load(name: str) -> Any:
    """A sibling file as a module; the sandbox has no access to the package it belongs to."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("_sandbox_" + name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Server:
    """Holds what every child inherits: the loaded modules, the isolation to apply, the namespaces around it."""

    def __init__(self, control: socket.socket, mode: str) -> None:
        self.control = control
        self.isolate, self.runner, self.codec = load("isolate"), load("runner"), load("codec")
        self.examiner, seccomp = load("examiner"), load("seccomp")
        self.rooms: Any = None
        namespaces: list[str] = []
        if mode == "namespaces":
            spaces = load("namespaces")
            self.proc = spaces.enter(self.isolate)
            self.rooms, namespaces = spaces.Rooms(self.isolate, self.proc), spaces.NAMES
            scratch: str | None = spaces.SCRATCH
        else:
            self.proc, scratch = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), None
        self.directory = scratch or "/"
        for name in MODULES:
            __import__(name)
        threading.stack_size(16 << 20)
        self.runner.prepare()
        version = self.isolate.landlock_version()
        self.rules: int | None = None
        self._rule(version)
        filter_ = seccomp.program(writes=bool(version or scratch), scratch=bool(scratch))
        self.ready = os.pipe()  # each child's word, before any untrusted code, that it is isolated
        os.set_blocking(self.ready[0], False)
        self.level: dict[str, Any] = {"namespaces": namespaces, "private_files": bool(scratch)}
        self._probe(version, filter_)
        gc.collect()
        gc.freeze()

    def _rule(self, landlock: int) -> None:
        """The Landlock ruleset of all children, for the directories as they are now."""
        if self.rules is not None:
            os.close(self.rules)
        scratch = None if self.rooms is None else self.directory
        readable = self.isolate.readable_paths()
        self.rules = self.isolate.landlock_rules(landlock, readable, scratch) if landlock else None

    def _probe(self, landlock: int, filter_: bytes | None) -> None:
        """Find out, in throw-away children, which layers this machine allows; the level promises exactly these."""
        off = {"no_new_privs": False, "capabilities_dropped": False, "landlock": 0, "seccomp": False}
        wanted = {"no_new_privs": True, "capabilities_dropped": True, "landlock": landlock,
                  "seccomp": filter_ is not None}  # fmt: skip
        level = self.level | wanted
        if not self._works(level, filter_):
            level = self.level | off
            for layer, value in wanted.items():
                trial = level | {layer: value}
                level = trial if value and self._works(trial, filter_) else level
        self.level = level
        self.isolation = self.isolate.Isolation(level, filter_)

    def _works(self, level: dict[str, Any], filter_: bytes | None) -> bool:
        isolation = self.isolate.Isolation(level, filter_)
        pid = self._fork()
        if pid == 0:
            try:
                isolation.apply(TRIAL, self.rules)
                os._exit(0)
            except OSError:
                os._exit(1)
        return os.waitpid(pid, 0)[1] == 0

    def _fork(self) -> int:
        """Fork; with namespaces, the child is the first process of its own pid namespace."""
        if self.rooms is None:
            return os.fork()
        self.rooms.open()
        try:
            pid = os.fork()
        except OSError:
            self.rooms.close()
            raise
        if pid:
            self.rooms.close()
        return pid

    def serve(self) -> None:
        """Answer requests until the control socket closes."""
        self.control.send(json.dumps({"level": self.level}).encode())
        while True:
            try:
                data, descriptors = self._receive()
            except ConnectionResetError:
                return
            if not data:
                return
            if not descriptors:  # a word about a child that has ended by itself
                continue
            request = json.loads(data)
            try:
                reply = self._one(request["limits"], request["files"], descriptors)
            except OSError as error:
                reply = {"failed": f"{type(error).__name__}: {error}"}
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            if self.rooms is not None and self.rooms.sweep():
                self._rule(self.level["landlock"])  # rules hold for directories, not for paths
            self.control.send(json.dumps(reply).encode())

    def _receive(self) -> tuple[bytes, list[int]]:
        data, ancillary, _, _ = self.control.recvmsg(4096, socket.CMSG_SPACE(8 * 4))
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content[: len(content) - len(content) % 4])
        return data, list(descriptors)

    def _one(self, limits: dict[str, Any], names: list[str], descriptors: list[int]) -> dict[str, Any]:
        """Fork a child for one request and wait for its end."""
        server = os.getpid()
        pid = self._fork()
        if pid == 0:
            self._child(server, limits, dict(zip(names, descriptors, strict=True)))
        watch = os.pidfd_open(pid)
        try:
            reason = self._watch(pid, watch, limits)
        finally:
            self._kill(pid)
            os.close(watch)
            _, status, usage = os.wait4(pid, 0)
        try:
            isolated = os.read(self.ready[0], 16) == b"r"
        except BlockingIOError:
            isolated = False
        cpu_s = usage.ru_utime + usage.ru_stime
        return {"status": status, "cpu_s": cpu_s, "killed": reason, "isolated": isolated}

    def _watch(self, pid: int, watch: int, limits: dict[str, Any]) -> str:
        """Until the child's end, or the reason to kill it: cpu, idle, wall or asked."""
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        started = test_started = time.monotonic()
        cpu = busy = 0.0  # at the start of the current test
        while True:
            events = dict(poll.poll(TICK_MS))
            now = time.monotonic()
            if watch in events:
                return ""
            if self.control.fileno() in events:
                word = self.control.recv(4096)
                if not word:  # the grader is gone
                    self._kill(pid)
                    os._exit(0)
                if word == b"kill":
                    return "asked"
                test_started, cpu, busy = now, _cpu_s(pid), self._busy_s(pid)
            if now - started > limits["wall_s"]:
                return "wall"
            used = _cpu_s(pid)
            if used - cpu > limits["test_cpu_s"] or used > limits["cpu_s"]:
                return "cpu"
            idle = now - test_started
            if idle > limits["idle_s"] and idle - (self._busy_s(pid) - busy) > limits["idle_s"] and self._asleep(pid):
                return "idle"

    def _busy_s(self, pid: int) -> float:
        """Seconds a process has computed or waited for a core (its busiest thread): a busy machine is no idleness."""
        try:
            return max(sum(map(int, text.split()[:2])) for text in self._of_threads(pid, "schedstat")) / 1e9
        except OSError:  # gone, or a kernel without schedstat: then only the wall limit counts
            return float("inf")

    def _asleep(self, pid: int) -> bool:
        """Whether all its threads sleep of their own will; who waits for memory or a disk is held up by the machine.

        A main thread that has ended before the others is a zombie until they end.
        """
        try:
            return all(text.rpartition(")")[2].split()[0] in "SZ" for text in self._of_threads(pid, "stat"))
        except OSError:
            return False

    def _of_threads(self, pid: int, name: str) -> list[str]:
        threads = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.proc)
        try:
            found = []
            for thread in os.listdir(threads):
                with open(os.open(f"{thread}/{name}", os.O_RDONLY, dir_fd=threads)) as file:
                    found.append(file.read())
            return found
        finally:
            os.close(threads)

    def _kill(self, pid: int) -> None:
        for kill in (os.killpg, os.kill):  # the group exists once the child has called setsid
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def _child(self, server: int, limits: dict[str, Any], files: dict[str, int]) -> None:
        """In the child: descriptors, isolation, then the work; never returns."""
        try:
            os.setsid()
            if self.rooms is None:
                self.isolate.die_with(server)
            elif os.getpid() != 1:
                raise OSError("not in a pid namespace of its own")
            null = os.open(os.devnull, os.O_RDWR)
            order = [files.get("stdin", null), files.get("stdout", null), null, files["results"], files["payload"],
                     files.get("channel", null), *([] if self.rules is None else [self.rules])]  # fmt: skip
            *moved, ready = [fcntl.fcntl(one, fcntl.F_DUPFD, 32) for one in (*order, self.ready[1])]
            for target, source in enumerate(moved):
                os.dup2(source, target)
            os.closerange(len(moved), ready)
            os.closerange(ready + 1, 4096)
            os.chdir(self.directory)
            request = self.runner.read_payload(4)
            send = self.runner.frame_writer()
            self.isolation.apply(limits, None if self.rules is None else 6)
            os.write(ready, b"r")
            os.close(ready)
        except BaseException:
            os._exit(97)  # nothing on the ready pipe: not the submission's doing
        work = self.examiner if request["mode"] == "examine" else self.runner
        work.run(request, self.codec, send, limits["output_bytes"])


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process, all its threads; 0 when it is gone (its end is on its way)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def main() -> None:
    """Serve on descriptor argv[1] until it closes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK if hard == resource.RLIM_INFINITY else min(STACK, hard)
    if soft != wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", *sys.argv])
    control = socket.socket(fileno=int(sys.argv[1]))
    control.recv(16)  # by now this process is in its control group, if there is one
    try:
        server = Server(control, sys.argv[2])
    except OSError as error:
        control.send(json.dumps({"failed": str(error)}).encode())
        return
    server.serve()


if __name__ == "__main__":
    main()
