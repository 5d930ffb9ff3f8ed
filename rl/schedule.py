"""Which problems a run trains on, and when: shuffled epochs, with general prompts held back until the last steps.

R1's last stage mixes reasoning prompts (rule rewards) with general ones (a reward model's judgement), the latter in
the last 400 of its 1,700 steps only: longer, and the policy learns to please the reward model (arXiv 2501.12948v2,
3.2.3 and B.5).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rl.config import GrpoError, GrpoSettings


def is_general(row: Mapping[str, Any]) -> bool:
    """Whether a problem's answers are judged by a reward model, which its column `judge` names."""
    return bool(row.get("judge"))


class Schedule:
    """The order of a run's problems, decided by rows, settings and seed alone: a resumed run goes on with the same one.

    Raises GrpoError where `general_steps` or `general_share` cannot be had with these rows.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], settings: GrpoSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._general = [i for i, row in enumerate(rows) if is_general(row)]
        self._reasoning = [i for i, row in enumerate(rows) if not is_general(row)]
        self._begin = 0  # the first step with general prompts
        knob = "general_share" if settings.general_steps is None else "general_steps"
        if settings.general_steps is None and settings.general_share is None:
            return
        if not self._general:
            raise GrpoError(f"{knob}: no problem is a general one (a column `judge` names its reward model): drop it")
        if not self._reasoning:
            raise GrpoError(f"{knob}: all problems are general ones, none is left for the other steps: drop it")
        if settings.general_steps is not None:
            chunk = settings.updates_per_rollout
            self._begin = max(0, settings.steps - settings.general_steps) // chunk * chunk

    def pool(self, step: int) -> list[int]:
        """The rows that may be drawn in `step` (from 0)."""
        return self._reasoning if step < self._begin else sorted([*self._reasoning, *self._general])

    def order(self) -> list[int]:
        """Rows for the whole run, one batch of rollouts after the other; one pass over it is the run.

        TRL's own sampler would begin again with the first epoch's order after a resume.
        """
        chunk = self._settings.updates_per_rollout
        batch = self._settings.prompts_per_step * self._settings.minibatches
        early = self._begin // chunk * batch
        late = -(-self._settings.steps // chunk) * batch - early
        draw = random.Random(f"r1-grpo/{self._seed}")
        order = _take(_epochs(self._reasoning, draw), early)
        share = self._settings.general_share
        if share is None:
            return order + _take(_epochs(self.pool(self._begin), draw), late)
        general, reasoning = _epochs(self._general, draw), _epochs(self._reasoning, draw)
        for _ in range(late // batch):
            mixed = _take(general, round(share * batch))
            mixed += _take(reasoning, batch - len(mixed))
            draw.shuffle(mixed)
            order += mixed
        return order

    def spare(self, taken: Sequence[int], step: int) -> Iterator[int]:
        """The rows of this step's pool that are not `taken`, in an order that seed and step alone decide."""
        rows = sorted(set(self.pool(step)) - set(taken))
        random.Random(f"r1-grpo-spare/{self._seed}/{step}").shuffle(rows)
        return iter(rows)


def _epochs(rows: Sequence[int], draw: random.Random) -> Iterator[int]:
    """`rows` for ever, in a new order each time round."""
    while True:
        epoch = list(rows)
        draw.shuffle(epoch)
        yield from epoch


def _take(rows: Iterator[int], n: int) -> list[int]:
    return [next(rows) for _ in range(n)]
