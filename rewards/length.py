"""Length reward: DAPO's soft overlong punishment (arXiv 2503.14476, equation 13).

A truncated answer scores nothing whatever it was; a slope before the limit tells the policy where the limit is.
"""

from __future__ import annotations

from rewards.registry import reward
from rollout.types import Sample


@reward(
    cases=[
        ("gold", "short", {"n_tokens": 100}),
        ("gold", "right at the slope", {"n_tokens": 16384}),
        ("junk", "half way down", {"n_tokens": 18432}),
        ("junk", "too long", {"n_tokens": 20481}),
        ("junk", "too long for a small budget", {"n_tokens": 200, "max_tokens": 192, "slope_tokens": 64}),
    ]
)
def length(s: Sample, *, max_tokens: int = 20480, slope_tokens: int = 4096) -> float:
    """0 up to `max_tokens - slope_tokens` tokens, then falls linearly to -1 at `max_tokens`.

    The defaults are DAPO's: L_max 20,480 and L_cache 4,096. Set `max_tokens` to your own generation limit.
    """
    over = s.n_tokens - (max_tokens - slope_tokens)
    if over <= 0:
        return 0.0
    return -1.0 if s.n_tokens > max_tokens or slope_tokens <= 0 else -over / slope_tokens
