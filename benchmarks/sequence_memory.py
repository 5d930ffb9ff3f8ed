"""Peak memory of one policy update at a sequence length and at four times that, with a vocabulary of 150,000.

    .venv/bin/python benchmarks/sequence_memory.py

Forward, backward and optimizer step of the tiny MoE's shape on 8 sequences, each in a process of its own. `whole`
computes log-probs the plain way, from the whole logits tensor, at the shorter length only.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, ROWS = 150_000, 8


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def update(length: int, whole: bool) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from models.tiny import build_config, build_model
    from rl.logprobs import completion_logprobs

    torch.set_num_threads(1)
    model = build_model(build_config(VOCABULARY, max_positions=length), seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(5, VOCABULARY, (ROWS, length), generator=torch.Generator().manual_seed(0))
    keep = length - 16
    for step in range(2):  # the first one makes the optimizer's state
        before = peak_mib()
        if whole:
            logits = model(input_ids=ids).logits[:, :-1]
            found = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])
        else:
            if step == 0:
                add_fused_lm_head(model, temperature=1.0)
            found = completion_logprobs(model, ids, torch.ones_like(ids), keep, batch_tokens=2048)[0]
        found.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        del found
        if step == 0:
            print(f"{before:.0f} ", end="")
    print(f"{peak_mib():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--child", choices=("tiles", "whole"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.child:
        update(options.length, options.child == "whole")
        return
    print(f"{'log-probs':<10}{'tokens':>8}{'model, MiB':>12}{'peak, MiB':>11}{'update, MiB':>13}")
    peaks = {}
    for name, length in (("tiles", options.length), ("tiles", 4 * options.length), ("whole", options.length)):
        command = [sys.executable, __file__, "--child", name, "--length", str(length)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        base, peak = (float(x) for x in done.stdout.split())
        peaks[name, length] = peak
        print(f"{name:<10}{length:>8}{base:>12.0f}{peak:>11.0f}{peak - base:>13.0f}", flush=True)
    print(f"4 x the length: {peaks['tiles', 4 * options.length] / peaks['tiles', options.length]:.2f} x the peak")


if __name__ == "__main__":
    main()
