"""How evenly SFT leaves the experts loaded with DeepSeek-V3's bias update on and off, and what that does to accuracy.

    .venv/bin/python benchmarks/router_balance.py

SFT on 768 chats of the tiny recipe's problems, once for each policy. MaxVio (max load / mean load - 1) is counted on
all of the chats with the final weights, layer by layer. All chats are worked out: after chats of both kinds (the
recipe's cold start, `--direct 0.65`) a model answers at once or works things out as chance has it, and its accuracy
says how often it did the one or the other, not what it can do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

R1 = str(Path(sys.executable).with_name("r1"))
POLICIES = {"frozen": "frozen", "update": "bias_update({rate:g})", "centred": "bias_update({rate:g}, centred)"}
PIPELINE = """
name: router-balance
seed: {seed}
stages:
  base: {{use: model, with: {{source: tiny-moe}}}}
  problems:
    use: problems
    with: {{source: arithmetic+python, n: 2048, cold_start: 768, direct: {direct:g}, dev: 256}}
{runs}
  scores: {{use: eval, from: {{models: [{names}], problems: problems.dev}}, with: {{k: 4, max_tokens: 96}}}}
"""
RUN = """
  {name}:
    use: sft
    from: {{model: base, samples: problems.cold_start}}
    with: {{epochs: {epochs}, lr: 4.0e-4, batch: 4, max_length: 256, router: "{policy}"}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=0.001, help="DeepSeek-V3: 0.001 (arXiv 2412.19437, 4.2)")
    parser.add_argument("--direct", type=float, default=0.0, help="share of the chats that answer at once")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workdir", default=None, help="keep the runs here (default: a temporary folder)")
    options = parser.parse_args()
    runs = "".join(
        RUN.format(name=name, policy=policy.format(rate=options.rate), epochs=options.epochs)
        for name, policy in POLICIES.items()
    )
    with tempfile.TemporaryDirectory() as scratch:
        workdir = Path(options.workdir or scratch)
        workdir.mkdir(parents=True, exist_ok=True)
        file = workdir / "router_balance.yaml"
        print(f"{'seed':<5} {'router':<30} {'MaxVio by layer':<30} {'mean':>6} {'pass@1':>8}")
        for seed in options.seeds:
            file.write_text(PIPELINE.format(seed=seed, direct=options.direct, runs=runs, names=", ".join(POLICIES)))
            flags = ["--workdir", str(workdir), "--set", f"name=seed{seed}"]
            subprocess.run([R1, "run", str(file), *flags], check=True, stdout=sys.stderr)
            shown = subprocess.run(
                [R1, "show", str(workdir / f"seed{seed}"), "--json"], check=True, capture_output=True
            )
            scores = json.loads(shown.stdout)["scores"]
            rows = workdir / f"seed{seed}" / "problems" / "cold_start" / "rows.parquet"
            for name, policy in POLICIES.items():
                found = violations(workdir / f"seed{seed}" / name / "model", rows)
                layers = " ".join(f"{value:.2f}" for value in found)
                cells = f"{policy.format(rate=options.rate):<30} {layers:<30} {sum(found) / len(found):>6.2f}"
                print(f"{seed:<5} {cells} {100 * scores[name]['pass@1']:>7.1f}%", flush=True)


def violations(model_path: Path, rows: Path) -> list[float]:
    """MaxVio of each MoE layer over all samples of a file."""
    import torch
    from pyarrow.parquet import read_table

    from models.checkpoint import load_model, load_tokenizer
    from models.router import RouterPolicy, RouterWatch
    from sft.data import encode

    samples: list[dict[str, Any]] = read_table(rows).to_pylist()
    model = load_model(model_path)
    data = encode(load_tokenizer(model_path), samples, max_length=256, template="chat")
    watch = RouterWatch(model.train(), RouterPolicy())
    for ids in data.input_ids:
        with torch.enable_grad():
            model(input_ids=torch.tensor([ids]))
    numbers = watch.step()
    return [numbers[f"router/max_vio/{layer.index}"] for layer in watch.layers]


if __name__ == "__main__":
    main()
