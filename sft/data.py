"""Chat samples as token rows: prompt masked, completion and eos learnt, random batches sorted by length."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

IGNORE = -100  # label that the loss leaves out


class SampleError(ValueError):
    """Samples that cannot be trained on; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token rows ready to train on. `input_ids[i]` and `labels[i]` have the same length; prompt labels are -100.
    `raw[i]`: a text without turns."""

    input_ids: list[list[int]]
    labels: list[list[int]]
    raw: list[bool]
    too_long: int
    n_completion_tokens: int


def encode(tokenizer: Any, rows: Sequence[Mapping[str, Any]], *, max_length: int, template: str = "chat") -> Encoded:
    """Render Samples rows with `models.chat` and mask everything before the completion.

    A conversation with k answers becomes k token rows, each masked up to its own answer: `models.chat.samples_of`.
    A sample of more than `max_length` tokens is left out and counted: cut off, it would teach never to stop.
    SampleError when no sample is left, or where a row is no conversation.
    """
    from models.chat import ChatError, render_sample, samples_of

    try:
        pairs = [
            (*render_sample(tokenizer, sample, template), sample.get("raw") is True)
            for row in rows
            for sample in samples_of(row)
        ]
    except ChatError as error:
        raise SampleError(f"sft: {error}") from error
    kept = [(prompt, completion, raw) for prompt, completion, raw in pairs if len(prompt + completion) <= max_length]
    if not kept:
        shortest = min((len(p) + len(c) for p, c, _ in pairs), default=0)
        raise SampleError(
            f"sft: none of the {len(pairs)} samples is at most {max_length} tokens long (the shortest has {shortest}): "
            "raise max_length, within what the model can hold, or give other samples"
        )
    return Encoded(
        input_ids=[prompt + completion for prompt, completion, _ in kept],
        labels=[[IGNORE] * len(prompt) + completion for prompt, completion, _ in kept],
        raw=[raw for _, _, raw in kept],
        too_long=len(pairs) - len(kept),
        n_completion_tokens=sum(len(completion) for _, completion, _ in kept),
    )


class RandomBatches:
    """A sampler of row indices: random batches, each sorted by length, in an order that depends on seed and epoch
    alone, so that a resumed run sees the same batches. Any iterable of ints with a length will do for a DataLoader.

    Sorting within a batch spares padding where it runs in several forward passes. Batches of rows alike in length would
    spare more, but length tells what a row teaches (answers at once are short, worked ones long): each step would learn
    one of the two, and the last few weigh most in which of them the model does (docs/decisions.md).
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        order = random.Random(f"{self._seed}/{self._epoch}").sample(range(len(self)), len(self))
        for start in range(0, len(order), self._batch):
            yield from sorted(order[start : start + self._batch], key=lambda i: self._lengths[i])
