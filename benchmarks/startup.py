"""How soon the command line answers, in turns with what it is built on and with TRL's command.

    .venv/bin/python benchmarks/startup.py

CPU seconds are what a quiet machine shows as wall time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
LIBRARIES = "import typer, yaml, pydantic.types, rich.console, rich.table"
COMMANDS = {
    "python -c pass": [PYTHON, "-c", "pass"],
    "import of typer, pydantic, yaml, rich": [PYTHON, "-c", LIBRARIES],
    "r1 --help": ["r1", "--help"],
    "r1 grpo --help": ["r1", "grpo", "--help"],
    "r1 plan r1_tiny.yaml": ["r1", "plan", "pipelines/recipes/r1_tiny.yaml"],
    "trl --help": ["trl", "--help"],
    "trl grpo --help": ["trl", "grpo", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(options.turns):
        for name, command in COMMANDS.items():
            seconds[name].append(clock(command))
    print(f"{'command':<40}{'CPU s':>8}{'wall s':>8}   (medians of {options.turns})")
    for name, taken in seconds.items():
        cpu, wall = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"{name:<40}{cpu:>8.2f}{wall:>8.2f}")


def clock(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    first, *rest = command
    program = first if os.sep in first else str(Path(PYTHON).with_name(first))
    start = time.perf_counter()
    process = subprocess.Popen([program, *rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


if __name__ == "__main__":
    main()
