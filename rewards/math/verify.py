"""The public verdicts: one pair in this process, or many pairs in killable processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from rewards.math.extract import extract
from rewards.math.judge import same_answer
from rewards.math.normal import normal
from rewards.workers import Failure, WorkerPool

LONGEST_GOLD = 200_000


def verify(gold: str, prediction: str) -> bool | None:
    """Whether the final answer of `prediction` (a completion or a bare answer) equals `gold`.

    None: the gold is empty or holds no answer, so nothing can be judged. Never raises on any text; work is bounded
    by size limits (no clock is involved, the verdict cannot depend on load).
    """
    target = gold_answer(gold)
    if target is None:
        return None
    answer = extract(prediction)
    if answer is None or not answer.strip():
        return False
    try:
        return same_answer(target, answer)
    except RecursionError:  # a caller deep in its own stack: the answer is nested beyond what is judged
        return False


def gold_answer(gold: str) -> str | None:
    """The answer inside a gold: itself, or what it boxes or states if it is a worked solution."""
    if len(gold) > LONGEST_GOLD:
        return None
    marks = ("boxed", "fbox", "answer is", "####")
    worked = any(mark in gold for mark in marks) or (len(gold) > 300 and " " in gold)
    text = extract(gold) if worked else gold
    return text if text is not None and normal(text) else None


def verify_many(pairs: Iterable[tuple[str, str]], *, workers: int = 1, timeout: float = 5.0) -> list[bool | None]:
    """`verify` for each (gold, prediction), in worker processes with `timeout` CPU seconds a pair.

    None also marks a pair whose worker had to be killed: the verdict is unknown, not negative.
    """
    listed = list(pairs)
    verdicts: list[bool | None] = [None] * len(listed)
    pool = WorkerPool("rewards.math.verify:make_verifier", workers=workers, timeout_s=timeout, wall_s=10 * timeout)
    with pool, closing(pool.run(listed)) as outcomes:
        for index, outcome in outcomes:
            verdicts[index] = None if isinstance(outcome, Failure) else outcome
    return verdicts


def make_verifier() -> Callable[[tuple[str, str]], bool | None]:
    """In a worker: the function that judges one pair."""
    return lambda pair: verify(*pair)
