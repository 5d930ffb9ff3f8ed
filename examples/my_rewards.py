"""Two rewards of one's own: name this file in the pipeline under `rewards:`, and the rewards in a stage's `with:`."""

from rewards import Sample, reward


@reward(
    cases=[
        ("gold", "<think>6 * 7 is 42.</think><answer>42</answer>", {"n_tokens": 12}),
        ("junk", "<think>Hmm, let me think again.</think><answer>42</answer>", {"n_tokens": 4000}),
        ("junk", "<think>Longer than asked.</think><answer>42</answer>", {"n_tokens": 100, "target": 50}),
    ]
)
def brevity(s: Sample, *, target: int = 200) -> float:
    """1.0 at or under `target` tokens, then falls off as 1/length."""
    return min(1.0, target / max(s.n_tokens, 1))


@reward(
    group=True,
    cases=[
        ("gold", ["<answer>7</answer>", "<answer>8</answer>", "<answer>8</answer>"]),
        ("junk", ["<answer>8</answer>", "<answer>8</answer>", "<answer>8</answer>"]),
    ],
)
def novelty(samples: list[Sample]) -> list[float]:
    """1 for a completion that no other sample of the same prompt repeats, less the more often it occurs."""
    texts = [s.completion for s in samples]
    return [1.0 / texts.count(text) for text in texts]
