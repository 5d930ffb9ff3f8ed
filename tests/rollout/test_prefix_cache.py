"""A group's prompt is read once by the engine, and never with weights of before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_shared_prompt_is_cached_until_the_weights_change(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("prefix_cached.py")), str(tmp_path / "m")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["cached"], found["block"]) == (True, 32)
    before, stale, synced = found["gaps"]
    assert before < 1e-4 and stale > 0.01 and synced < 1e-4
