"""How good it was: rewards as plain functions, graded in killable workers. This room never imports torch.

from rewards import Sample, reward

@reward(cases=[("gold", "short"), ("junk", "long " * 500, {"n_tokens": 500})])
def brevity(s: Sample, *, target: int = 200) -> float: ...
"""

from rewards.registry import reward
from rollout.types import Sample

__all__ = ["Sample", "reward"]
