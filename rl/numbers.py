"""What one step is worth writing down: numbers of its samples, and TRL's numbers under our names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rl.batch import Group, verdict

if TYPE_CHECKING:
    from torch import Tensor

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
    "sampling/importance_sampling_ratio/min": "correction/min",
    "sampling/importance_sampling_ratio/mean": "correction/mean",
    "sampling/importance_sampling_ratio/max": "correction/max",
}
OURS = (
    "zero_variance",
    "unscored",
    "grading_errors",
    "finished",
    "reflection",
    "refilled",
    "stale",
    "off_policy_masked",
)
OUR_PREFIXES = (
    "part/",
    "accuracy",
    "length",
    "canary",
    "seconds/",
    "router/",
    "ratio/",
    "mismatch/",
    "replay/",
    "correction/",
)
# R1's list of reflective words, whose frequency it follows over training (arXiv 2501.12948v2, C.2).
REFLECTION = re.compile(r"\b(wait|mistake|however|but|retry|error|verify|wrong|evaluate|check)\b", re.IGNORECASE)


def log_line(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a TRL log line that a reader wants, renamed; absent values stay absent.

    `load/<layer>` alone is a list: each expert's share.
    """
    line: dict[str, Any] = {}
    for key, value in logs.items():
        if key.startswith("load/"):
            line[key] = value
        if value is None or not isinstance(value, int | float):
            continue
        if key in TRL_NAMES:
            line[TRL_NAMES[key]] = value
        elif key in OURS or key.startswith(OUR_PREFIXES):
            line[key] = value
    return line


def step_numbers(groups: Sequence[Group], correct: Sequence[str]) -> dict[str, float]:
    """Means over all samples of the groups, in shares and tokens.

    `part/<name>`: each reward over the samples it applies to. `accuracy`: share of samples whose `correct` parts are
    all 1, over those that have such a part; `accuracy/<family>` by the rows' `family`. `length/right`, `length/wrong`:
    tokens of right and wrong samples. `reflection`: R1's reflective words in a sample. A number without samples is
    left out.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        for name, part in group.parts.items():
            values[f"part/{name}"] += [r for r in part if r is not None]
        for i, sample in enumerate(group.samples):
            values["length"].append(sample.n_tokens)
            values["finished"].append(sample.finish == "stop")
            values["reflection"].append(len(REFLECTION.findall(sample.completion)))
            right = verdict(group.parts, i, correct)
            if right is None:
                continue
            values["accuracy"].append(right)
            values["length/right" if right else "length/wrong"].append(sample.n_tokens)
            if sample.row.get("family"):
                values[f"accuracy/{sample.row['family']}"].append(right)
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items() if numbers}


def policy_numbers(logps: Tensor, inputs: Mapping[str, Any], *, comparable: bool = True) -> dict[str, float]:
    """How far the policy is from what sampled the batch, over its unmasked tokens.

    `ratio/*`: pi / pi_old for each token, pi_old being the trainer's own log-probs (now, where the batch is new).
    `mismatch/*`: |log pi_old - log mu|, nats, mu being the engine: what the two disagree about with equal weights.
    Left out unless the two are `comparable`, that is of the same distribution.
    """
    mask = inputs["completion_mask"].bool()
    if not mask.any():
        return {}
    old, engine = inputs.get("old_per_token_logps"), inputs["sampling_per_token_logps"]
    old = logps if old is None else old
    ratio, gap = (logps - old).exp()[mask], (old - engine).abs()[mask]
    gap = gap[~gap.isnan()]  # an engine may leave a token unscored
    numbers = {"ratio/min": ratio.min(), "ratio/mean": ratio.mean(), "ratio/max": ratio.max()}
    if comparable and len(gap):
        numbers |= {"mismatch/mean": gap.mean(), "mismatch/max": gap.max()}
    return {name: float(value) for name, value in numbers.items()}
