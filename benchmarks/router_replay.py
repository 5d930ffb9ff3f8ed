"""What router replay does to a bfloat16 rollout's distance from a float32 trainer, on the tiny MoE after a cold start.

    .venv/bin/python benchmarks/router_replay.py

Three runs of the same stage that differ in `router_replay`; each updates four times per batch of rollouts. `gap` is
|log pi_old - log mu| in nats (trainer against engine, same weights), `ratio` is pi / pi_old over the later updates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

R1 = str(Path(sys.executable).with_name("r1"))
MINIBATCHES = 4
PIPELINE = """
name: router-replay
seed: {seed}
stages:
  base: {{use: model, with: {{source: tiny-moe}}}}
  problems: {{use: problems, with: {{source: arithmetic+python, n: 2048, cold_start: 512, direct: 0.65}}}}
  cold:
    use: sft
    from: {{model: base, samples: problems.cold_start}}
    with: {{epochs: 3, lr: 4.0e-4, batch: 4, max_length: 256}}
{runs}
"""
RUN = """
  {name}:
    use: grpo
    from: {{model: cold, problems: problems.train}}
    with:
      router_replay: {replay}
      steps: {steps}
      minibatches: {minibatches}
      prompts_per_step: 8
      group: 16
      lr: 2.0e-4
      max_tokens: 96
      beta: 0
      algorithm: grpo
      epsilon: 0.2
      engine_dtype: bfloat16
      save_every: 0
      rewards: {{math: 1.0, code: 1.0, format: 0.1}}
"""  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", default=None, help="keep the runs here (default: a temporary folder)")
    options = parser.parse_args()
    variants = ("off", "r2", "r3")
    runs = "".join(
        RUN.format(name=f"with_{name}", replay=name, steps=options.steps, minibatches=MINIBATCHES) for name in variants
    )
    with tempfile.TemporaryDirectory() as scratch:
        workdir = Path(options.workdir or scratch)
        workdir.mkdir(parents=True, exist_ok=True)
        file = workdir / "router_replay.yaml"
        file.write_text(PIPELINE.format(seed=options.seed, runs=runs))
        subprocess.run([R1, "run", str(file), "--workdir", str(workdir)], check=True, stdout=sys.stderr)
        heads = ("gap mean", "gap max", "ratio min", "ratio max", "rerouted", "accuracy")
        print(f"{'replay':<7}" + "".join(f"{head:>11}" for head in heads))
        for name in variants:
            print(f"{name:<7} " + row(workdir / "router-replay" / f"with_{name}" / "metrics.jsonl"))


def row(metrics: Path) -> str:
    """Gap over the updates that see a batch first, ratio and rerouted share over the others (medians over the run)."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    first = [line for line in lines if "accuracy" in line]
    later = [line for line in lines if "accuracy" not in line]

    def median(part: list[dict[str, float]], name: str) -> float:
        return statistics.median([line[name] for line in part if name in line] or [float("nan")])

    cells = [
        f"{statistics.fmean(line['mismatch/mean'] for line in lines):>10.5f}",
        f"{max(line['mismatch/max'] for line in lines):>10.2f}",
        f"{median(later, 'ratio/min'):>10.3f}",
        f"{median(later, 'ratio/max'):>10.3f}",
        f"{statistics.fmean(line.get('replay/changed', float('nan')) for line in later):>10.4f}",
        f"{statistics.fmean(line['accuracy'] for line in first[-3:]):>10.3f}",
    ]
    return " ".join(cells)


if __name__ == "__main__":
    main()
