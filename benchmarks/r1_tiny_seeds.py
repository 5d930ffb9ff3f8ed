"""The whole tiny recipe over several seeds: mean and range of every model's pass@1, and how RL changed the length.

    .venv/bin/python benchmarks/r1_tiny_seeds.py --seeds 0 1 2

Runs that are already in the store are not repeated. Each run is `r1 run` as a user would start it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

R1 = [str(Path(sys.executable).with_name("r1"))]


def run(recipe: str, seed: int, workdir: str, split: str) -> dict[str, Any]:
    """Run the recipe with one seed; returns what `r1 show --json` says of it."""
    name = f"{Path(recipe).stem}-{split}-seed{seed}"
    flags = ["--set", f"seed={seed}", "--set", f"name={name}", "--set", f"stages.scores.from.problems=problems.{split}"]
    subprocess.run([*R1, "run", recipe, "--workdir", workdir, *flags], check=True)
    shown = subprocess.run(
        [*R1, "show", f"{workdir}/{name}", "--json"], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(shown)


def spread(values: list[float]) -> str:
    """Mean and range, in percent."""
    mean = sum(values) / len(values)
    return f"{100 * mean:5.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", default="pipelines/recipes/r1_tiny.yaml")
    parser.add_argument("--workdir", default="runs")
    parser.add_argument("--split", choices=("holdout", "dev"), default="holdout", help="dev while choosing settings")
    options = parser.parse_args()
    results = [run(options.recipe, seed, options.workdir, options.split)["scores"] for seed in options.seeds]
    print(f"\n{len(results)} seeds, pass@1 in percent: mean (range)")
    families = sorted(results[0][next(iter(results[0]))]["families"])
    print(f"{'model':<10} {'all':<24}" + "".join(f"{family:<24}" for family in families) + "tokens")
    for model in results[0]:
        cells = [spread([scores[model]["pass@1"] for scores in results])]
        cells += [spread([scores[model]["families"][family]["pass@1"] for scores in results]) for family in families]
        tokens = sum(scores[model]["mean_tokens"] for scores in results) / len(results)
        print(f"{model:<10} " + "".join(f"{cell:<24}" for cell in cells) + f"{tokens:.1f}")


if __name__ == "__main__":
    main()
