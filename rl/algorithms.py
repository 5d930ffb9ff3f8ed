"""The named algorithms of the grpo stage: each is a set of defaults for the knobs of `rl.config`, nothing more.

There is one loss (TRL's) with switches; an algorithm sets them. A knob that the user gives wins. Where a paper leaves
a constant out, the text says whose value stands in. docs/algorithms.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Algorithm = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "v3.2"]

_NO_KL: dict[str, Any] = {"beta": 0.0}

ALGORITHMS: Mapping[Algorithm, Mapping[str, Any]] = {
    # DeepSeek-R1 (arXiv 2501.12948v2, 2.1 and 3.2.1). Its constants are the fields' own defaults.
    "grpo": {},
    # Dr. GRPO (arXiv 2503.20783): no std, sums divided by a constant. Clip range: the field's usual 0.2.
    "dr_grpo": {**_NO_KL, "loss": "dr_grpo", "scale_rewards": "none", "epsilon": 0.2},
    # DAPO (arXiv 2503.14476): clip-higher, mean over tokens, dynamic sampling. The paper samples until the batch is
    # full; verl's recipe of it stops at 10 batches in all, so do we. `overlong` is the stage's (pipelines).
    "dapo": {**_NO_KL, "loss": "dapo", "epsilon": 0.2, "epsilon_high": 0.28, "refill": 9},
    # GSPO (arXiv 2507.18071): one ratio per sequence, so the clip range is far narrower.
    "gspo": {**_NO_KL, "level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    # CISPO (MiniMax-M1, arXiv 2506.13585): no lower clip. Its upper one is unpublished; ScaleRL's (arXiv 2510.13786)
    # is a ratio of at most 5, as TRL recommends.
    "cispo": {**_NO_KL, "loss": "cispo", "epsilon": None, "epsilon_high": 4.0},
    # DeepSeek-V3.2 (arXiv 2512.02556, 3.1). KL coefficient and clip range are unpublished: R1's 0.001 and the usual
    # 0.2. So is the threshold of the mask, which the user must therefore choose (see `OFF_POLICY_MASK`).
    "v3.2": {"scale_rewards": "none", "epsilon": 0.2, "beta": 0.001, "ratio_weighted_kl": True},
}

OFF_POLICY_MASK = (
    "algorithm: v3.2 needs off_policy_mask: DeepSeek-V3.2 does not publish its threshold and open implementations "
    "differ 5,000-fold; set it in nats per token (TRL's documentation: 0.5, slime: 1e-4), or null for no mask"
)


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs that the user gave, over those of the algorithm they name; ValueError where one must be given."""
    name: Any = given.get("algorithm", "grpo")
    if name == "v3.2" and "off_policy_mask" not in given:
        raise ValueError(OFF_POLICY_MASK)
    overlap: dict[str, Any] = {"correction": "token_truncate"} if given.get("overlap") is True else {}
    return {**(ALGORITHMS.get(name, {}) if isinstance(name, str) else {}), **overlap, **given}
