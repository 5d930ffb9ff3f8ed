"""Repetition reward: the share of n-grams that only repeat earlier ones, as a penalty.

After the n-gram penalty of "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, section 4.3), over the
whole completion and scaled to [-1, 0].
"""

from __future__ import annotations

import re

from rewards.registry import reward
from rollout.types import Sample

TOKEN = re.compile(r"\w+|[^\w\s]")


@reward(
    cases=[
        ("gold", "<think>Seven and five are twelve, and twelve less two is ten.</think><answer>10</answer>"),
        ("gold", "12"),
        ("junk", "<think>" + "wait, let me check again. " * 30 + "</think><answer>10</answer>"),
        ("junk", "10 10 10 10 10 10 10 10 10 10"),
    ]
)
def repetition(s: Sample, *, n: int = 3) -> float:
    """Minus the share of repeated n-grams of words and signs: 0 without any, towards -1 for a loop."""
    tokens = TOKEN.findall(s.completion.lower())
    count = len(tokens) - n + 1
    if count <= 1:
        return 0.0
    return len({tuple(tokens[i : i + n]) for i in range(count)}) / count - 1.0
