"""Group-relative advantages from scores that may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STD_FLOOR = 1e-4  # added to the standard deviation; TRL's value


@dataclass(frozen=True, slots=True)
class Advantages:
    """`values_P_G`: 0 for a sample without a score. Shares are of P groups: `zero_variance` = all scores equal (or
    fewer than two), so nothing to learn from. `unscored` is the share of samples left out."""

    values_P_G: list[list[float]]
    zero_variance: float
    unscored: float


def group_advantages(
    total_P_G: Sequence[Sequence[float | None]], scale: Literal["group", "batch", "none"] = "group"
) -> Advantages:
    """A = (R - mean of the group) / std, over the scored samples only (DeepSeekMath 2402.03300, eq. 3).

    std is the sample standard deviation (n - 1) of the group or of the whole batch; `none` does not divide
    (Dr. GRPO 2503.20783). A sample without a score enters neither mean nor std and gets 0.
    """
    batch_std = _std([r for group in total_P_G for r in group if r is not None])
    values, flat, missing = [], 0, 0
    for group in total_P_G:
        scores = [r for r in group if r is not None]
        equal = len(scores) < 2 or max(scores) - min(scores) < 1e-9
        flat, missing = flat + equal, missing + len(group) - len(scores)
        mean = sum(scores) / max(len(scores), 1)
        divisor = {"group": _std(scores) + STD_FLOOR, "batch": batch_std + STD_FLOOR, "none": 1.0}[scale]
        values.append([0.0 if r is None or equal else (r - mean) / divisor for r in group])
    samples = sum(len(group) for group in total_P_G)
    return Advantages(values, flat / max(len(total_P_G), 1), missing / max(samples, 1))


def _std(scores: Sequence[float]) -> float:
    """Sample standard deviation; 0 for fewer than two scores."""
    if len(scores) < 2:
        return 0.0
    mean = sum(scores) / len(scores)
    return float((sum((r - mean) ** 2 for r in scores) / (len(scores) - 1)) ** 0.5)
