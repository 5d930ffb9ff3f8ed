"""Grade labelled cases round after round and look for what is left behind; prints one JSON object.

    python tests/rewards/code_rounds.py ROUNDS SECONDS < CASES    SECONDS: CPU and idle limit of one test

As another user or in a container: `python tests/rewards/code_places.py container -- python .../code_rounds.py ...`.
"""

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rewards.code import Limits, run, sandbox_level

WATCHED = os.environ.get("WATCHED", "").split(":")  # folders that nobody else writes to


class Residue:
    """What the host looks like: files, processes of ours, descriptors; and ports that nobody should connect to."""

    def __init__(self):
        self.listeners = {}

    def listen(self, port):
        """Listen to TCP and UDP on this port, unless another process of these tests does."""
        if port not in self.listeners:
            self.listeners[port] = (socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for one in self.listeners[port]:
                one.setblocking(False)
                with contextlib.suppress(OSError):
                    one.bind(("127.0.0.1", port))
                    if one.type == socket.SOCK_STREAM:
                        one.listen()

    def connected(self):
        found = []
        for port, (stream, datagram) in self.listeners.items():
            for receive in (stream.accept, lambda one=datagram: one.recv(9)):
                try:
                    receive()
                    found.append(port)
                except OSError:  # nothing there, or not the one that listens
                    pass
        return found

    def look(self):
        """Files, live processes below this one, open descriptors."""
        files = {f"{folder}/{name}" for folder in WATCHED if folder for name in os.listdir(folder)}
        return files, descendants(os.getpid()), len(os.listdir("/proc/self/fd"))


def descendants(root):
    """Processes below `root`, zombies included."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found, more = set(), {root}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def judge(case, limits, residue):
    """What is wrong with the grading of this case, in words; or nothing."""
    if case.get("listen"):
        residue.listen(case["listen"])
    residue.listen(47654)
    os.environ.update(case.get("setup_env") or {})
    started = time.monotonic()
    report = run(case.get("code") or case["solution"], case["tests"], limits=limits, stop_early=True)
    wall_s = time.monotonic() - started
    name = case.get("name") or f"{case['task']} {case['fmt']}"
    if report.passed != (case["expected"] == "pass") and not case.get("contested"):
        return f"{name}: {report.verdicts} {report.detail}"
    if "infrastructure_error" in report.verdicts:
        return f"{name}: {report.detail}"
    if wall_s > (case.get("within_s") or 60):
        return f"{name}: {wall_s:.1f} s"
    file = case.get("forbid_file")
    if file and os.path.exists(file):
        return f"{name}: left {file}"
    return f"{name}: connected" if residue.connected() else None


def main(rounds, seconds):
    cases = [json.loads(line) for line in sys.stdin]
    limits = Limits(cpu_s=seconds, idle_s=seconds)
    residue, wrong, left = Residue(), [], []
    level = sandbox_level()
    for case in cases[:1]:
        judge(case, limits, residue)  # servers start, modules load
    run("f = abs", {"type": "assert", "entry_point": "f", "test": "assert f(-1) == 1"})
    files, processes, descriptors = residue.look()
    started = time.monotonic()
    done = 0
    for done in range(1, rounds + 1):
        wrong += [(done, fault) for fault in (judge(case, limits, residue) for case in cases) if fault]
        now_files, now_processes, now_descriptors = residue.look()
        new = sorted(now_files - files) + sorted(map(str, now_processes - processes))
        if new or now_descriptors != descriptors:
            left.append((done, new, now_descriptors - descriptors))
        if len(wrong) > 50:
            break
    print(json.dumps({"level": level["name"], "uid": os.getuid(), "rounds": done, "cases": len(cases), "wrong": wrong,
                      "left": left, "watched": WATCHED, "wall_s": round(time.monotonic() - started, 1)}))  # fmt: skip
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
