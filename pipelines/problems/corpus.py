"""The text a base reads before any chat: blurted and worked answers side by side, in many hands, no chat format.

Real pre-training text has both manners, and the hasty one is often wrong. A base that read both is able (its worked
solutions are mostly right) and undecided (it often blurts): what RL needs to have something to choose.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from pipelines.problems.arithmetic import MATH
from pipelines.problems.functions import CODE
from pipelines.problems.general import GENERAL
from pipelines.problems.items import Item, draw

# (with work, without): {p} problem, {w} work, {a} answer. The first pair is the plain template of `models.chat`.
_HANDS = [
    ("Problem: {p}\nWork: {w}\nAnswer: {a}\n", "Problem: {p}\nAnswer: {a}\n"),
    ("Q: {p}\nA: {w}. So {a}\n", "Q: {p}\nA: {a}\n"),
    ("{p}\n{w}\n{a}\n", "{p}\n{a}\n"),
    ("Exercise. {p}\nSolution. {w}\nResult:\n{a}\n", "Exercise. {p}\nResult:\n{a}\n"),
    ("Ann: {p}\nBob: {w}, that is {a}\n", "Ann: {p}\nBob: {a}\n"),
    ("# {p}\n# {w}\n{a}\n", "# {p}\n{a}\n"),
    ("Task: {p} Notes: {w} Done: {a}\n", "Task: {p} Done: {a}\n"),
]
_PLAIN_SHARE = 0.3


def write_document(item: Item, rng: random.Random, *, worked: bool) -> tuple[str, str]:
    """(statement, what follows) of one short document in a random hand; a blurted one carries the item's guess."""
    worked = worked and bool(item.work)
    hand = _HANDS[0] if rng.random() < _PLAIN_SHARE else rng.choice(_HANDS[1:])
    answer = item.answer if worked or not item.work else item.guess
    if item.family == "code" and rng.random() < 0.5:
        answer = f"```python\n{answer}\n```"
    statement, _, rest = hand[0 if worked else 1].partition("{p}")
    end = "\n" if rest.startswith("\n") else ""
    return f"{statement}{item.prompt}{end}", rest.removeprefix(end).format(w=item.work, a=answer)


def corpus(seed: int, *, worked_share: float = 0.7) -> Iterator[tuple[str, str]]:
    """Endless documents, each as (statement, what follows): 60% math, 35% code, both on train-split problems alone, and
    5% general facts."""
    rng = random.Random(f"corpus:{seed}")
    families = [draw(MATH, rng, "train"), draw(CODE, rng, "train"), draw(GENERAL, rng)]
    while True:
        item = next(rng.choices(families, weights=(60, 35, 5))[0])
        yield write_document(item, rng, worked=rng.random() < worked_share)
