"""Rows of a batch as the model reads them: packed to the left, sorted by length, a token budget at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from trl.trainer import utils as trl_utils

# Vocabulary entries in one tile of logits on a CPU. TRL's 32,768 suit its GPU kernel; its CPU path makes several copies
# of a tile. At 1,016 tokens x 150,000 entries, forward and backward, TRL's width took 1,217 MiB, this one 186 MiB.
CPU_TILE = 2048


@dataclass(frozen=True)
class Rows:
    """Padded prompts and completions: (B, P + C) ids and mask, C = `keep`; for each row (B) its first real place and
    the lengths of its prompt and of the whole."""

    ids: Tensor
    mask: Tensor
    keep: int
    starts: Tensor
    prompts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor, keep: int) -> Rows:
        return cls(ids, mask, keep, mask.argmax(dim=1), mask[:, :-keep].sum(dim=1), mask.sum(dim=1))

    def shown(self, rows: Tensor) -> Tensor:
        """(R, P + C): the ids of some rows, -1 where nothing is read."""
        return self.ids[rows].masked_fill(~self.mask[rows].bool(), -1)

    def places(self, rows: Tensor, first: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(columns, mask), (R, width): `lengths` tokens of each of `rows` from its token `first` on, packed left."""
        columns = torch.arange(max(int(lengths.max()), 2), device=self.ids.device)
        places = (self.starts[rows, None] + first[:, None] + columns).clamp(max=self.ids.size(1) - 1)
        return places, columns < lengths[:, None]


def first_of_each(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(U), (R): where the different ones among some rows (R, T) stand first, and which of them each row is."""
    _, owners = torch.unique(rows, dim=0, return_inverse=True)
    places = torch.arange(len(rows), device=rows.device)
    first = torch.full((int(owners.max()) + 1,), len(rows), device=rows.device)
    first, order = first.scatter_reduce(0, owners, places, "amin").sort()
    return first, order.argsort()[owners]


def budget(order: Tensor, lengths: list[int], batch_tokens: int) -> list[Tensor]:
    """Cut row indices, longest first, so that rows x longest row stays within the budget (at least one row each)."""
    parts, first = [], 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or (i - first + 1) * max(lengths[first], 1) > batch_tokens:
            parts.append(order[first:i])
            first = i
    return parts


@contextmanager
def tiles(device: torch.device) -> Iterator[None]:
    """TRL offers no setting for the tile's width: it reads a module's constant when the forward pass begins."""
    wide = trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
    trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_TILE if device.type == "cpu" else wide
    try:
        yield
    finally:
        trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = wide
