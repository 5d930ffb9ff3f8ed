"""Stands between r1 and one `vllm serve`, so that no process of it is left behind.

Run as `python -IS server_guard.py PARENT FOLDER COMMAND...` in a session of its own, with the standard library only and
without this folder on the path, whose `types.py` would stand before the library's. A vLLM server is several processes:
when the first of them ends, or when r1 has ended in whatever way (also `kill -9`), all go. In the second case the run's
folder (weights, sockets, log) goes as well; nobody else is left to remove it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

POLL_S = 0.1


def main(parent: int, folder: str, command: list[str]) -> None:
    """Wait for the command or the parent to end, then kill this process group, this process included."""
    child = subprocess.Popen(command)
    while child.poll() is None and os.getppid() == parent:
        time.sleep(POLL_S)
    if child.returncode is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"vllm serve ended with status {child.returncode}", flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
