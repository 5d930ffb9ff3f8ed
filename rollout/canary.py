"""The canary: after each sync, trainer and engine must give the same log-probabilities for the same tokens.

A sync can fail without an error (stale experts, dropped buffers), and training then goes on and gets worse slowly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollout.types import Engine

Probes = Sequence[Sequence[int]]
PROBE_LENGTH = 48  # tokens


class CanaryFailure(RuntimeError):
    """Trainer and engine disagree; the message has the numbers and what to do. `gap` holds the measurement."""

    def __init__(self, message: str, gap: Gap) -> None:
        super().__init__(message)
        self.gap = gap


@dataclass(frozen=True, slots=True)
class Gap:
    """Absolute log-probability difference, trainer against engine, in nats, over `tokens` probed tokens.

    `rounds` > 1: an earlier probe set was off and a fresh one was not (a tie in the router, see `Canary`).
    """

    max: float
    mean: float
    tokens: int
    rounds: int = 1


class Canary:
    """Teacher-forces fixed token sequences through trainer and engine and compares.

    `max_gap` is the largest allowed difference of any token, `mean_gap` the largest allowed mean; both in nats.
    The defaults fit the engine's precision: float32 agrees to 1e-6, bfloat16 rollouts of an untrained model differ by
    0.002 on average and 0.04 at most (measured), and stale experts by 0.03 and more on average.

    Two experts whose scores tie to the last bit can be ranked differently by two correct programs, and the token then
    differs by far more than rounding. Such a tie does not repeat on other tokens while a wrong weight does, so a
    failing probe set is followed by a fresh one, three in all, and only three failures stop the run.

    A trained model is sharper than the default bfloat16 limits suppose: rounding alone moves a token that it finds
    unlikely by 3 nats (measured on the tiny base, as much in the trainer as in vLLM). So above those limits, unless
    `max_gap` or `mean_gap` is given, the gap is measured against what bfloat16 costs the trainer itself on the same
    tokens, and may be twice that.
    """

    rounds = 3

    def __init__(
        self,
        vocab_size: int,
        *,
        precision: str = "float32",
        max_gap: float | None = None,
        mean_gap: float | None = None,
        texts: Probes = (),
        sequences: int = 4,
        length: int = PROBE_LENGTH,
        seed: int = 0,
    ) -> None:
        self.rounding_counts = precision != "float32" and max_gap is None and mean_gap is None
        limits = (1e-3, 1e-4) if precision == "float32" else (0.5, 0.02)
        self.max_gap = limits[0] if max_gap is None else max_gap
        self.mean_gap = limits[1] if mean_gap is None else mean_gap
        self.texts = [list(text) for text in texts if len(text) > 1]
        self.probes = [random_probes(vocab_size, sequences, length, seed + i) for i in range(self.rounds)]

    def measure(self, model: Any, engine: Engine, probes: Probes) -> Gap:
        """The gap on these token sequences, no judgement; of several replicas, the largest."""
        from rollout.forward import model_logprobs

        ours = model_logprobs(model, probes)
        ask_all = getattr(engine, "logprobs_of_replicas", None)
        gaps = [_gap(theirs, ours) for theirs in (ask_all(probes) if ask_all else [engine.logprobs(probes)])]
        return Gap(max(gap.max for gap in gaps), max(gap.mean for gap in gaps), sum(gap.tokens for gap in gaps))

    def check(self, model: Any, engine: Engine, *, step: int | None = None) -> Gap:
        """The gap after a sync; raises CanaryFailure when it is above the limits on every probe set."""
        gap = Gap(0.0, 0.0, 0)
        for i, fresh in enumerate(self.probes):
            probes = [*self.texts, *fresh] if i == 0 else fresh
            measured = self.measure(model, engine, probes)
            gap = Gap(measured.max, measured.mean, measured.tokens, i + 1)
            if gap.max <= self.max_gap and gap.mean <= self.mean_gap:
                return gap
            if self.rounding_counts and self._is_rounding(gap, model, probes):
                return gap
        raise CanaryFailure(self._message(gap, step), gap)

    def _is_rounding(self, gap: Gap, model: Any, probes: Probes) -> bool:
        from rollout.forward import rounding_gaps

        gaps = rounding_gaps(model, probes)
        return math.isfinite(gap.max) and gap.max <= 2 * max(gaps) and gap.mean <= 2 * sum(gaps) / len(gaps)

    def _message(self, gap: Gap, step: int | None) -> str:
        where = "" if step is None else f" at step {step}"
        rounding = ", or twice what bfloat16 costs the trainer itself" if self.rounding_counts else ""
        return (
            f"canary{where}: trainer and rollout engine disagree after the weight sync: log-probability gap "
            f"{gap.max:.2g} max, {gap.mean:.2g} mean over {gap.tokens} tokens (allowed {self.max_gap:.2g} max, "
            f"{self.mean_gap:.2g} mean{rounding}). The engine is not sampling from the trainer's weights; training on "
            f"its rollouts would go wrong slowly. Check `r1 doctor --model`, try `engine: transformers`, or, if the "
            f"gap is rounding (bfloat16 rollouts), raise `canary_max_gap`."
        )


def _gap(theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> Gap:
    gaps = [abs(a - b) for x, y in zip(theirs, ours, strict=True) for a, b in zip(x, y, strict=True)]
    gaps = [gap if gap == gap else float("inf") for gap in gaps]  # a NaN is the worst gap of all
    return Gap(max(gaps, default=0.0), sum(gaps) / max(len(gaps), 1), len(gaps))


def random_probes(vocab_size: int, sequences: int, length: int, seed: int) -> list[list[int]]:
    """Token sequences drawn uniformly from the vocabulary: they reach every expert, which plain text may not."""
    draw = random.Random(f"r1-canary/{seed}")
    return [[draw.randrange(vocab_size) for _ in range(length)] for _ in range(sequences)]
