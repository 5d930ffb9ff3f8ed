"""Format reward: did the completion keep the shape `<think>...</think><answer>...</answer>`?

DeepSeek-R1 (arXiv 2501.12948, section 2.2.2) rewards putting the thinking between tags; the same shape is required
here of the whole completion, so that nothing hides outside it.
"""

from __future__ import annotations

import re

from rewards.registry import reward
from rollout.types import Sample

SHAPE = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@reward(
    cases=[
        ("gold", "<think>2 + 2 is 4.</think><answer>4</answer>"),
        ("gold", "<think>\nOne line.\n</think>\n<answer>\n4\n</answer>\n"),
        ("junk", "4"),
        ("junk", "<think>2 + 2 is 4.</think>4"),
        ("junk", "<answer>4</answer><think>2 + 2</think>"),
        ("junk", "<think>a</think><answer>3</answer><answer>4</answer>"),
        ("junk", "<think>a</think><answer>4</answer> And so on."),
        ("gold", "<think></think><answer>4</answer>"),
        ("junk", "<think>2 + 2 is 4.</think><answer></answer>"),
        ("junk", "<think>2 + 2 is 4.</think><answer>4</answer>", {"finish": "length"}),
    ]
)
def format(s: Sample) -> float:
    """1 if the whole completion is one thinking part and one answer, in this order, and it ended by itself.

    The thinking may be empty: whether thinking pays is for the accuracy rewards to teach, not for this one.
    """
    if s.finish != "stop" or any(s.completion.count(tag) != 1 for tag in TAGS):
        return 0.0
    shape = SHAPE.fullmatch(s.completion)
    return float(shape is not None and bool(shape[2].strip()))
