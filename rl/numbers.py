"""What one step is worth writing down: numbers of its samples, and TRL's numbers under our names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rollout.types import Sample, Scored

# TRL's name -> ours; what is not listed here and not ours is left out (lengths by quantile, per-function rewards ...).
TRL_NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
    "aux_loss": "aux_loss",
    "clip_ratio/region_mean": "clip_fraction",
    "cispo_clip_ratio": "clip_fraction",
    "sampling/sampling_logp_difference/mean": "mismatch/mean",
    "sampling/sampling_logp_difference/max": "mismatch/max",
    "sampling/importance_sampling_ratio/min": "correction/min",
    "sampling/importance_sampling_ratio/mean": "correction/mean",
    "sampling/importance_sampling_ratio/max": "correction/max",
}
OURS = ("zero_variance", "unscored", "grading_errors", "finished")
OUR_PREFIXES = ("part/", "accuracy", "length", "canary", "seconds/", "router/")


def log_line(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a TRL log line that a reader wants, renamed; absent values stay absent."""
    line = {}
    for key, value in logs.items():
        if value is None or not isinstance(value, int | float):
            continue
        if key in TRL_NAMES:
            line[TRL_NAMES[key]] = value
        elif key in OURS or key.startswith(OUR_PREFIXES):
            line[key] = value
    return line


def step_numbers(scored: Scored, samples: Sequence[Sample], correct: Sequence[str]) -> dict[str, float]:
    """Means over the B = P x G samples (given flat, in the order of `scored`), in shares and tokens.

    `part/<name>`: each reward over the samples it applies to. `accuracy`: share of samples whose `correct` parts are
    all 1, over those that have such a part; `accuracy/<family>` by the rows' `family`. `length/right`, `length/wrong`:
    tokens of right and wrong samples. A number without samples is left out.
    """
    flat = {name: [r for group in part for r in group] for name, part in scored.parts_P_G.items()}
    values: dict[str, list[float]] = defaultdict(list)
    for name, part in flat.items():
        values[f"part/{name}"] = [r for r in part if r is not None]
    for i, sample in enumerate(samples):
        values["length"].append(sample.n_tokens)
        values["finished"].append(sample.finish == "stop")
        verdicts = [r for r in (flat[name][i] for name in correct if name in flat) if r is not None]
        if not verdicts:
            continue
        right = min(verdicts) >= 1.0 - 1e-6
        values["accuracy"].append(right)
        values["length/right" if right else "length/wrong"].append(sample.n_tokens)
        if sample.row.get("family"):
            values[f"accuracy/{sample.row['family']}"].append(right)
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items() if numbers}
