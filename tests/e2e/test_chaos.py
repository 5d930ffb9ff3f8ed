"""Every stage kind on a tiny model, killed where files change hands: the end is that of a quiet run, byte for byte.

The cut recipe on vLLM, with kills at random moments, full disks and flipped bits, is `benchmarks/chaos.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.chaos import content
from pipelines.artifacts import write_rows
from tests.pipelines.taught import PROBLEMS, SAMPLES, untrained

PIPELINE = """
name: cut
stages:
  cold: {use: sft, from: {model: ../base, samples: ../samples},
         with: {epochs: 100, lr: 1e-2, batch: 2, save_every: 50, log_every: 25}}
  reason: {use: grpo, from: {model: cold, problems: ../problems},
           with: {steps: 3, prompts_per_step: 2, group: 2, minibatches: 2, max_tokens: 24, temperature: 2,
                  save_every: 1, beta: 0.01,
                  ref_every: 2, rewards: {math: 1.0, format: 0.1}, engine: transformers}}
  harvest: {use: sample, from: {model: reason, problems: ../problems},
            with: {n: 2, max_tokens: 24, chunk: 1, temperature: 0.3, engine: transformers, rewards: {math: 1.0}}}
  scores: {use: eval, from: {models: [cold, reason], problems: ../problems},
           with: {k: 2, max_tokens: 24, chunk: 1, engine: transformers, rewards: {math: 1.0}}}
  report: {use: report, from: {scores: scores}}
"""
KILLS = (41, 75, 80, 114, 30)


def test_a_run_killed_again_and_again_ends_like_a_quiet_one(tmp_path: Path) -> None:
    untrained(tmp_path / "base")
    write_rows(tmp_path / "samples", SAMPLES)
    write_rows(tmp_path / "problems", PROBLEMS)
    for name in ("quiet", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.yaml").write_text(PIPELINE)
    command = [sys.executable, Path(__file__).with_name("killed_runs.py"), "quiet", "killed", *map(str, KILLS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    ends = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert ends == [0] + [-9] * len(KILLS) + [0] and "Traceback" not in done.stderr, done.stdout + done.stderr
    quiet, killed = content(tmp_path / "quiet"), content(tmp_path / "killed")
    assert {name for name in {*quiet, *killed} if quiet.get(name) != killed.get(name)} == set()
    assert {"cold/model/model.safetensors", "reason: metrics line 2", "harvest/rows.parquet"} <= quiet.keys()
