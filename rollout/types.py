"""What a model said and how it was scored: plain types without torch, shared by every room above `models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

Finish = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw completions. `temperature` 0 is greedy; `seed` makes a draw reproducible on one engine."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one prompt.

    `logprobs[t]` is the sampler's log-probability (nats, natural temperature 1 distribution of the engine's weights)
    of `completion_ids[t]`. `experts` is an integer array (T, layers, k) where the engine returns it: the experts of the
    first T tokens of prompt + completion (the last token never runs), -1 in layers without experts.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    finish: Finish
    experts: Any | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a reward sees: one completion as text, its problem's answer and the whole problem row."""

    prompt: str
    completion: str
    answer: str | None = None
    finish: Finish = "stop"
    n_tokens: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of P prompts x G samples. `None` = the reward does not apply; it is no zero.

    `total_P_G` is the weighted sum of the parts that apply (None when none does or when an error hit the sample);
    `parts_P_G[name]` holds each reward before weighting; `errors` counts samples whose grading failed for a reason
    that is ours or the sandbox's, not the model's.
    """

    total_P_G: list[list[float | None]]
    parts_P_G: dict[str, list[list[float | None]]]
    errors: int = 0


class Scorer(Protocol):
    """Grades P groups of G samples. Implemented by `rewards.scorer`; `rl` sees only this protocol."""

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored: ...


class Grading(Protocol):
    """Groups that are graded while they are being drawn; a context manager that gives up what is not done."""

    def add(self, *samples: tuple[int, int, Sample]) -> None:
        """`(p, g, sample)`: sample g of group p, in place of one that was added there before."""
        ...

    def result(self) -> Scored:
        """The scores of all samples, each of which must have been added."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class EagerScorer(Scorer, Protocol):
    """A scorer that need not wait until the last sample is there."""

    def begin(self, sizes_P: Sequence[int]) -> Grading:
        """Grade P groups of so many samples."""
        ...


Each = Callable[[int, Rollout], None]
"""Told of a rollout as soon as it is whole: its place p * n + g, and the rollout, without `experts`."""


class Engine(Protocol):
    """Generates and scores tokens with one set of weights that `sync` replaces."""

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int, *, each: Each | None = None
    ) -> list[list[Rollout]]:
        """`n` rollouts for each prompt, in the prompts' order. `each` is told of those that are whole before the rest;
        what is returned counts, should it differ (a server that failed is asked again)."""
        ...

    def sync(self, model: Any) -> None:
        """Take over the weights and buffers of a `transformers` model (same architecture)."""
        ...

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Teacher-forced log-probability of ids[1:], one list per sequence, length len(ids) - 1."""
        ...

    def close(self) -> None: ...
