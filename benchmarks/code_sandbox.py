"""Submissions a second on one core: the code sandbox at its levels beside a fresh interpreter, bubblewrap and exec.

    python benchmarks/code_sandbox.py [--seconds 1.0] [--rounds 5]

Every way runs the same program (reads a number, prints its double; or a function called with it) in turns of
`--seconds`, `--rounds` times over; the table gives medians of runs per second of the wall clock and per second of CPU
time, all processes counted; the ratios are of the latter, which other work on the machine changes little. Pinned to one
core. Ways marked with a star do not isolate anything.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import rewards.code.sandbox as sandboxes
from rewards.code import discard, run, sandbox_level

PROGRAM = "print(2 * int(input()))"
FUNCTION = "def f(x): return 2 * x"
ONE = {"type": "stdin", "cases": [{"input": "21\n", "output": "42\n"}]}
SYSTEM = next((path for path in ("/usr/bin/python3",) if os.path.exists(path)), "")
Way = Callable[[], bool]


def calls(count: int) -> dict[str, object]:
    return {
        "type": "call",
        "fn_name": "f",
        "inputs": [[i] for i in range(count)],
        "outputs": [2 * i for i in range(count)],
    }


def asserts(count: int) -> dict[str, object]:
    lines = "".join(f"    assert c({i}) == {2 * i}\n" for i in range(count))
    return {"type": "assert", "entry_point": "f", "test": f"def check(c):\n{lines}"}


def fresh(*command: str) -> Way:
    def way() -> bool:
        done = subprocess.run([*command, "-c", PROGRAM], input=b"21\n", capture_output=True, env={})
        return done.stdout == b"42\n"

    return way


def bubblewrap() -> Way:
    binds = [word for path in ("/usr", "/lib", "/lib64") if os.path.exists(path) for word in ("--ro-bind", path, path)]
    return fresh("bwrap", "--unshare-all", "--die-with-parent", *binds, "--proc", "/proc", "--tmpfs", "/tmp",
                 SYSTEM, "-I")  # fmt: skip


def in_process() -> bool:
    out, before = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO("21\n")
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(PROGRAM, "<submission>", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = before
    return out.getvalue() == "42\n"


def sandboxed(level: str, code: str, tests: dict[str, object]) -> Way:
    def way() -> bool:
        if sandbox_level()["name"] != level:
            discard()
            sandboxes._REFUSED.clear()
            if level == "kernel":
                sandboxes._REFUSED["namespaces"] = "the benchmark compares"
            if sandbox_level()["name"] != level:
                raise LookupError(level)
        return run(code, tests, stop_early=True).passed

    return way


def ways() -> dict[str, Way]:
    found = {f"{'fresh python -I (this interpreter) *'}": fresh(sys.executable, "-I")}
    if SYSTEM:
        found["fresh python -I (the system's) *"] = fresh(SYSTEM, "-I")
        if shutil.which("bwrap"):
            found["bubblewrap, the system's python -I"] = bubblewrap()
    found["in-process exec *"] = in_process
    for level in ("kernel", "namespaces"):
        found[f"sandbox, {level}: stdin"] = sandboxed(level, PROGRAM, ONE)
        found[f"sandbox, {level}: 1 call"] = sandboxed(level, FUNCTION, calls(1))
        found[f"sandbox, {level}: 10 calls"] = sandboxed(level, FUNCTION, calls(10))
        found[f"sandbox, {level}: 10 asserts"] = sandboxed(level, FUNCTION, asserts(10))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rates: dict[str, list[tuple[float, float]]] = {}
    for _ in range(args.rounds):
        for name, way in ways().items():
            with contextlib.suppress(LookupError):  # this machine has no such level
                if not way():  # the first one starts a server
                    raise SystemExit(f"{name}: wrong verdict")
                count, started, busy = 0, time.perf_counter(), cpu_s()
                while (spent := time.perf_counter() - started) < args.seconds:
                    count += way()
                rates.setdefault(name, []).append((count / spent, count / (cpu_s() - busy)))
    middle = {
        name: [statistics.median(column) for column in zip(*values, strict=True)] for name, values in rates.items()
    }
    bases = [name for name in middle if name.startswith("fresh")]
    titles = "".join(f"{'x ' + base.split('(')[1].rstrip(' *)'):>20}" for base in bases)
    print(f"{'one core':<38}{'per s':>8}{'per CPU s':>11}{titles}")
    for name, (wall, cpu) in middle.items():
        counted = not name.startswith("bubblewrap")  # its processes are not all waited for: the wall clock then
        ratios = [cpu / middle[base][1] if counted else wall / middle[base][0] for base in bases]
        shown = f"{cpu:>11.0f}" if counted else f"{'-':>11}"
        print(f"{name:<38}{wall:>8.0f}{shown}" + "".join(f"{ratio:>20.2f}" for ratio in ratios))


def cpu_s() -> float:
    """CPU seconds so far of this process, those it has waited for, and the servers below it with their children."""
    total, below = sum(os.times()[:4]), [os.getpid()]
    for pid in below:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
            below += map(int, file.read().split())
    for pid in below[1:]:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            total += sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    main()
