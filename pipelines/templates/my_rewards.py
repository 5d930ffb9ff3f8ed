"""Rewards of your own: one function each. Arguments after `*` are the settings that the pipeline file may give.

Check them before you train:  r1 rewards check --plugin my_rewards.py
"""

from rewards import Sample, reward


@reward(
    cases=[
        ("gold", "<think>6 * 7 is 42.</think><answer>42</answer>", {"n_tokens": 12}),
        ("junk", "<think>Hmm, let me think again.</think><answer>42</answer>", {"n_tokens": 4000}),
    ]
)
def brevity(s: Sample, *, target: int = 200) -> float:
    """1.0 at or under `target` tokens, then falls off as 1/length."""
    return min(1.0, target / max(s.n_tokens, 1))
