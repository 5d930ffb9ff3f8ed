"""For `test_chaos.py`: runs of a pipeline file, each in a fork of a process that has imported torch already.

    python killed_runs.py QUIET KILLED OPERATION...

One run in the folder QUIET; then runs in KILLED, each but the last ended by SIGKILL at the given file operation (see
`benchmarks/chaos.py`). Prints how each ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import rl.grpo  # noqa: E402, F401
import sft.train  # noqa: E402, F401
from benchmarks.chaos import child  # noqa: E402


def run(folder: str, number: int) -> None:
    print(f"RUN {folder} {number}", flush=True)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        child(number, "", ["run", "p.yaml"])
    _, status = os.waitpid(pid, 0)
    print(f"ENDED {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], 0)
    for word in [*sys.argv[3:], "0"]:
        run(sys.argv[2], int(word))
