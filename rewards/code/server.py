"""The fork-server: an interpreter with the common modules loaded, which forks one isolated child per submission.

Started as `python -I -S server.py CONTROL DIRECTORY` with an empty environment, standard library only. It never sees
an expected value. A request is one datagram `{"limits": ...}` with four descriptors: payload, stdin, stdout, results.
The server watches the child (wall clock, or a kill request) and answers with the wait status and the CPU time it took.
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
    "functools", "hashlib", "heapq", "io", "itertools", "math", "operator", "queue", "random", "re", "statistics",
    "string", "textwrap", "threading", "traceback", "types", "typing", "unicodedata",
)  # fmt: skip


def load(name: str) -> Any:
    """A sibling file as a module; the sandbox has no access to the package it belongs to."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("_sandbox_" + name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def busy_s(pid: int) -> float:
    """Seconds a process has computed or waited for a core (its busiest thread): a busy machine is not idleness."""
    busy = 0.0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                ran, waited, _ = file.read().split()
            busy = max(busy, (int(ran) + int(waited)) / 1e9)
    except OSError:  # gone, or a kernel without schedstat: then only the wall limit counts
        return float("inf")
    return busy


class Server:
    """Holds what every child inherits: the loaded modules, the Landlock ruleset, the seccomp program, an empty cwd."""

    def __init__(self, control: socket.socket, empty: str) -> None:
        self.control = control
        self.isolate, self.runner, self.codec = load("isolate"), load("runner"), load("codec")
        for name in MODULES:
            __import__(name)
        threading.stack_size(16 << 20)
        self.empty = empty
        os.chmod(empty, 0o555)
        self.level: dict[str, Any] = {"namespaces": self.isolate.unshare_server()}
        self.probe()
        sys.stdout.flush()
        gc.collect()
        gc.freeze()

    def probe(self) -> None:
        """Find out, in throw-away children, which layers this machine allows; the others are left out."""
        isolate = self.isolate
        version = isolate.landlock_version()
        self.rules = isolate.landlock_rules(version, isolate.readable_paths()) if version else None
        self.program = isolate.seccomp_program(writes=self.rules is not None)
        limits = {"cpu_s": 1, "memory_bytes": 2 << 30, "output_bytes": 1 << 20}
        self.level |= {"no_new_privs": False, "capabilities_dropped": False, "landlock": 0, "seccomp": False}
        for layer, on in (
            ("no_new_privs", True),
            ("capabilities_dropped", True),
            ("landlock", version),
            ("seccomp", self.program is not None),
        ):
            trial = self.level | {layer: on}
            if on and self._works(limits, trial):
                self.level = trial

    def _works(self, limits: dict[str, Any], level: dict[str, Any]) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                self.isolate.isolate(limits, level, self.rules, self.program)
                os._exit(0)
            except OSError:
                os._exit(1)
        return os.waitpid(pid, 0)[1] == 0

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
            request = json.loads(data)
            if not descriptors:  # a kill that came after the child's own end
                continue
            try:
                reply = self.one(request["limits"], descriptors)
            except OSError as error:
                reply = {"failed": f"{type(error).__name__}: {error}"}
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self.control.send(json.dumps(reply).encode())

    def _receive(self) -> tuple[bytes, list[int]]:
        data, ancillary, _, _ = self.control.recvmsg(4096, socket.CMSG_SPACE(4 * 4))
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content[: len(content) - len(content) % 4])
        return data, list(descriptors)

    def one(self, limits: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Fork a child for one request and wait for its end."""
        pid = os.fork()
        if pid == 0:
            self.child(limits, descriptors)
        started = time.monotonic()
        watch = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        reason = ""
        while not reason:
            events = dict(poll.poll(250))
            wall = time.monotonic() - started
            if watch in events:
                break
            if self.control.fileno() in events:
                reason = "asked"
                if not self.control.recv(4096):
                    self._kill(pid)
                    self.close()
                    os._exit(0)
            elif wall > limits["wall_s"]:
                reason = "wall"
            elif wall > limits["idle_s"] and wall - busy_s(pid) > limits["idle_s"]:
                reason = "idle"
        self._kill(pid)
        os.close(watch)
        _, status, usage = os.wait4(pid, 0)
        return {"status": status, "cpu_s": usage.ru_utime + usage.ru_stime, "killed": reason}

    def _kill(self, pid: int) -> None:
        for kill in (os.killpg, os.kill):  # the group exists once the child has called setsid
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def child(self, limits: dict[str, Any], descriptors: list[int]) -> None:
        """In the child: descriptors, isolation, then the submission; never returns."""
        try:
            os.setsid()
            payload, stdin, stdout, results = descriptors
            null = os.open(os.devnull, os.O_WRONLY)
            sources = [stdin, stdout, null, results, payload, *([] if self.rules is None else [self.rules])]
            moved = [fcntl.fcntl(one, fcntl.F_DUPFD, 16) for one in sources]
            for target, source in enumerate(moved):
                os.dup2(source, target)
            os.closerange(len(moved), 4096)
            rules = None if self.rules is None else 5
            os.chdir(self.empty)
            runner, codec = self.runner, self.codec
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            send = runner.frame_writer(limits["output_bytes"] + 4096)
            request = runner.read_payload(4)
            self.isolate.isolate(limits, self.level, rules, self.program)
            send(b"R", b"")
        except BaseException:
            os._exit(97)  # no ready frame: the parent knows that this is not the submission's doing
        runner.run(request, codec, send, limits["output_bytes"])

    def close(self) -> None:
        """Remove the empty directory, in case the grader is gone and cannot."""
        with contextlib.suppress(OSError):
            os.rmdir(self.empty)


def main() -> None:
    stack = 256 << 20  # the main thread's stack limit only takes effect at exec
    if resource.getrlimit(resource.RLIMIT_STACK)[0] not in (stack, resource.RLIM_INFINITY):
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        wanted = stack if hard == resource.RLIM_INFINITY else min(stack, hard)
        if resource.getrlimit(resource.RLIMIT_STACK)[0] != wanted:
            resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", *sys.argv])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # ends with its control socket, in order
    control = socket.socket(fileno=int(sys.argv[1]))
    server = Server(control, sys.argv[2])
    try:
        server.serve()
    finally:
        server.close()


if __name__ == "__main__":
    main()
