"""The long versions of the robustness tests of the code sandbox; each prints what it found and fails on a surprise.

python benchmarks/code_soak.py growth [N]    N runs (10,000) of all forms, honest and hostile: does anything grow?
python benchmarks/code_soak.py kills [N]     N times (200) a random process of the sandbox is killed at a random moment
python benchmarks/code_soak.py bombs [N]     N rounds (5) of 50 honest submissions beside three bombs
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rewards.code import Limits, discard, run, sandbox_level

TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
ECHO = {"type": "stdin", "cases": [{"input": "3\n", "output": "6\n"}]}
CHECK = {"type": "assert", "entry_point": "f", "test": "for i in range(9): assert f(i) == 2 * i"}
FORMS = (
    ("def f(x): return 2 * x", TWICE),
    ("print(2 * int(input()))", ECHO),
    ("def f(x): return 2 * x", CHECK),
)
HOSTILE = "import os\ntry: open('/tmp/left', 'w').write('x')\nexcept OSError: pass\nos._exit(3)"
BOMBS = {
    "time_limit": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "memory_limit": "x = []\nwhile True: x.append(bytearray(b'x') * 10**8)",
    "output_limit": "while True: print('x' * 1000)",
}


def below(root: int) -> set[int]:
    """Processes below one, zombies included."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    found: set[int] = set()
    more = {root}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def resident_kib(pids: set[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * 4
    return total


def state() -> dict[str, int]:
    ours = below(os.getpid())
    found = {
        "grader KiB": resident_kib({os.getpid()}),
        "servers KiB": resident_kib(ours),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "server descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in ours),
        "processes": len(ours),
    }
    return found | {f"files in {folder}": len(os.listdir(folder)) for folder in ("/tmp", "/dev/shm")}


def growth(count: int) -> bool:
    def some(number: int) -> None:
        for i in range(number):
            code, tests = FORMS[i % 3]
            if not (run(code, tests).passed and not run(HOSTILE, tests).passed):
                raise SystemExit(f"wrong verdict in run {i}")

    some(150)
    first, started = state(), time.monotonic()
    marks = [first]
    for _ in range(10):
        some(count // 20)
        marks.append(state())
    last = marks[-1]
    print(f"{count} runs in {time.monotonic() - started:.0f} s at level {sandbox_level()['name']}")
    for name in first:
        print(f"  {name:<20} {first[name]:>8} -> {last[name]:>8}")
    same = all(first[name] == last[name] for name in ("descriptors", "server descriptors", "processes"))
    return (
        same and last["grader KiB"] - first["grader KiB"] < 2048 and last["servers KiB"] - first["servers KiB"] < 2048
    )


def kills(count: int) -> bool:
    chance, passed, hits, faults = random.Random(0), 0, 0, []
    for i in range(count):
        code, tests = FORMS[i % 3]
        slow = code.replace("return", "import time; time.sleep(0.02); return").replace(
            "print", "import time\ntime.sleep(0.02)\nprint"
        )
        if not run(code, tests).passed:
            faults.append(f"{i}: the call after a kill failed")
        victim = chance.choice(sorted(below(os.getpid())))

        def kill(pid: int = victim) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        timer = threading.Timer(chance.uniform(0, 0.06), kill)
        timer.start()
        report = run(slow, tests)
        timer.join()
        passed += report.passed
        hits += "infrastructure_error" in report.verdicts
        if not report.passed and "infrastructure_error" not in report.verdicts:
            faults.append(f"{i}: {report}")
    after = run(*FORMS[0]).passed
    discard()
    left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_server(pid)]
    print(f"{count} kills: {hits} infrastructure errors, {passed} passed, next call failed or verdict wrong: {faults}")
    print(f"  works afterwards: {after}; servers left of this user: {left}")
    return after and not faults and not left


def _is_server(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return os.path.abspath("rewards/code/server.py") in file.read()
    return False


def bombs(count: int) -> bool:
    quick, fine = Limits(cpu_s=1, idle_s=1), True
    for _ in range(count):
        started = time.monotonic()
        alone = [run(*FORMS[i % 3]).passed for i in range(50)]
        alone_s = time.monotonic() - started
        with ThreadPoolExecutor(3) as threads:
            started = time.monotonic()
            thrown = {name: threads.submit(run, code, ECHO, limits=quick) for name, code in BOMBS.items()}
            beside = [run(*FORMS[i % 3]).passed for i in range(50)]
            beside_s = time.monotonic() - started
            verdicts = {name: one.result().verdicts for name, one in thrown.items()}
        limit = 1.5 * alone_s + 3 * quick.cpu_s
        fine &= all(alone) and all(beside) and all(verdicts[name] == [name] for name in BOMBS) and beside_s <= limit
        print(
            f"50 honest: {alone_s:.2f} s alone, {beside_s:.2f} s beside {[*verdicts.values()]} (at most {limit:.2f} s)"
        )
    return fine


def main() -> None:
    tasks = {"growth": (growth, 10_000), "kills": (kills, 200), "bombs": (bombs, 5)}
    task, count = tasks[sys.argv[1]]
    sys.exit(0 if task(int(sys.argv[2]) if len(sys.argv) > 2 else count) else 1)


if __name__ == "__main__":
    main()
