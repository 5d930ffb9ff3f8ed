"""What distillation and RL cost each student of r1_distill, and what each brought.

    .venv/bin/r1 run pipelines/recipes/r1_distill.yaml
    .venv/bin/python benchmarks/distill_compute.py runs/r1-distill

The unit of compute is a forward pass of one token through the student: 1 to draw it, 3 to train on it (forward and
backward). Groups without an advantage are drawn and not trained on (beta 0). That prompts and equal samples of a group
run once is not deducted from RL's figure; the seconds, which both ways took on this machine, have it.
The teacher's compute is not counted, as in the paper (arXiv 2501.12948v2): it is there already.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from models.chat import render_prompt, render_sample
from models.checkpoint import load_tokenizer
from pipelines.artifacts import read_rows


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def sft_passes(run: Path, student: str) -> float:
    """Token passes of distillation: every token of every sample, each epoch, three passes."""
    stage = run / f"{student}_distilled"
    tokenizer, config = load_tokenizer(run / student / "model"), manifest(stage)["config"]
    rendered = (render_sample(tokenizer, row, config["template"]) for row in read_rows(run / "harvest"))
    return 3.0 * config["epochs"] * sum(len(prompt) + len(completion) for prompt, completion in rendered)


def rl_passes(run: Path, student: str) -> float:
    """Token passes of RL: one for every drawn token and its prompt, three more where the group had an advantage."""
    stage = run / f"{student}_rl"
    tokenizer, config = load_tokenizer(run / student / "model"), manifest(stage)["config"]
    assert config["beta"] == 0, "with a reference model every sample costs another pass"
    prompts = [len(render_prompt(tokenizer, row, config["template"])) for row in read_rows(run / "problems" / "train")]
    prompt, samples = sum(prompts) / len(prompts), config["prompts_per_step"] * config["group"]
    lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "length" in line]
    return sum(samples * (prompt + line["length"]) * (1 + 3 * (1 - line["zero_variance"])) for line in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished r1_distill run")
    run = parser.parse_args().run
    scores = json.loads((run / "scores" / "scores.json").read_text())["models"]
    print(f"{'model':<17} {'million token passes':>20} {'seconds':>8} {'pass@1':>7}  95% interval")
    for student in ("small", "large"):
        for name, passes in (
            (student, None),
            (f"{student}_rl", rl_passes(run, student)),
            (f"{student}_distilled", sft_passes(run, student)),
        ):
            low, high = scores[name]["ci95"]
            cost = "" if passes is None else f"{passes / 1e6:.2f}"
            seconds = manifest(run / name)["wall_s"]
            print(f"{name:<17} {cost:>20} {seconds:>8.0f} {scores[name]['pass@1']:>7.1%}  {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
