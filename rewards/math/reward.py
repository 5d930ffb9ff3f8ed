"""The `math` reward: 1 for the gold answer, 0 for another or none."""

from __future__ import annotations

from rewards.math.extract import marked
from rewards.math.verify import verify
from rewards.registry import reward
from rollout.types import Sample


@reward(
    name="math",
    cases=[
        ("gold", "<think>2 * 6</think><answer>12</answer>", {"answer": "12"}),
        ("gold", r"So it is \boxed{\frac{2}{4}}.", {"answer": "1/2"}),
        ("junk", "<think>2 * 6 = 12</think><answer>13</answer>", {"answer": "12"}),
        ("junk", "<think>The answer is 12", {"answer": "12"}),
        ("junk", r"\boxed{11}, \boxed{12}, \boxed{13}", {"answer": "12"}),
        ("junk", r"\boxed{0.333}", {"answer": "1/3"}),
        ("junk", "Work: 7 + 5\nAnswer: 12\n", {"answer": "12"}),
        ("none", "<answer>12</answer>", {"answer": None}),
        ("none", "<answer>12</answer>", {"answer": "12", "row": {"tests": '{"type": "stdin", "cases": []}'}}),
    ],
)
def math_reward(s: Sample, *, stated: bool = False) -> float | None:
    """1 if the final answer equals the problem's answer, else 0.

    The answer must be marked, in `<answer>` or a box: R1's "specified format" (arXiv 2501.12948, 2.2.2). `stated`
    takes one that is only said ("Answer: 12"), as a base model does before it has seen a chat.
    Does not apply to problems without an answer, nor to those with tests: there the answer is a reference program.
    """
    if s.answer is None or s.row.get("tests"):
        return None
    verdict = verify(s.answer, s.completion)
    return None if verdict is None else float(verdict and (stated or marked(s.completion)))
