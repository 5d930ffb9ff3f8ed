"""A prompt's keys and values, computed once for all samples of its group.

In a GRPO batch each prompt stands before every completion of its group, sixteen times in R1. Here it is run once, with
gradient, and the completions attend to its keys and values. Log-probs and gradients are those of the plain way but for
rounding; what is saved is (G - 1) / G of the prompts' tokens in every pass: policy, old policy, reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from rl.packing import Rows, budget, first_of_each, tiles

WORTH = 0.25
"""Share of a batch's tokens that sharing must save. Attention after a cache needs a mask, which flash kernels do not
take: with long completions after short prompts that costs more than the prompts do."""


def can_share(config: Any) -> bool:
    """Whether each layer keeps plain keys and values of all tokens (no sliding window, no recurrent state, no index)
    and a key does not depend on how long the row is in the end (as with dynamic rotary embeddings)."""
    layers = DynamicCache(config=config).layers
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    fixed = rope.get("rope_type", "default") not in ("dynamic", "longrope")
    return fixed and bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


@dataclass(frozen=True)
class Prompts:
    """The different prompts of some rows: one row that has each (U), and which of them each row has (R)."""

    all_rows: Rows
    rows: Tensor
    owners: Tensor
    examples: Tensor

    def chunks(self, batch_tokens: int) -> Iterator[Chunk]:
        """Prompts within the token budget, longest first."""
        lengths = self.all_rows.prompts[self.examples] - 1
        order = torch.argsort(lengths, descending=True, stable=True)
        for chosen in budget(order, lengths[order].tolist(), batch_tokens):
            yield Chunk(self, chosen)


def find_prompts(all_rows: Rows, rows: Tensor) -> Prompts | None:
    """The prompts of `rows`; None where sharing gains little (`WORTH`) or cannot be (a prompt of one token leaves
    nothing to share)."""
    first, owners = first_of_each(all_rows.shown(rows)[:, : -all_rows.keep])
    shared = all_rows.prompts - 1
    saved = shared[rows].sum() - shared[rows[first]].sum()
    if saved < WORTH * all_rows.lengths[rows].sum() or int(shared[rows].min()) < 1:
        return None
    return Prompts(all_rows, rows, owners, rows[first])


class Chunk:
    """Some prompts and the rows that have them, longest completion first. `sizes`: tokens that a row's pass sees."""

    def __init__(self, prompts: Prompts, chosen: Tensor) -> None:
        self._all_rows, self._examples = prompts.all_rows, prompts.examples[chosen]
        local = torch.full_like(prompts.examples, -1)
        local[chosen] = torch.arange(len(chosen), device=chosen.device)
        mine = local[prompts.owners] >= 0
        rows, owners = prompts.rows[mine], local[prompts.owners][mine]
        rest = self._all_rows.lengths[rows] - self._all_rows.prompts[rows] + 1
        order = torch.argsort(rest, descending=True, stable=True)
        self.rows = rows[order]
        self.sizes = (rest[order] + int(self._all_rows.prompts[self._examples].max())).tolist()
        self._owner_of = torch.full_like(self._all_rows.starts, -1)
        self._owner_of[rows] = owners

    def read(self, model: Any) -> Read:
        """Run the prompts but for their last tokens."""
        lengths = self._all_rows.prompts[self._examples] - 1
        places, mask = self._all_rows.places(self._examples, torch.zeros_like(lengths), lengths)
        ids, cache = self._all_rows.ids[self._examples].gather(1, places), DynamicCache()
        with tiles(ids.device):  # the fused head, for it is what the model may have been wrapped around; no label
            model(
                input_ids=ids,
                attention_mask=mask.long(),
                past_key_values=cache,
                labels=torch.full_like(ids, -100),
                fused_lm_head=True,
            )
        assert cache.get_seq_length() == ids.size(1), "the model keeps no keys and values: set share_prompts: false"
        return Read([(layer.keys, layer.values) for layer in cache.layers], mask.long(), self._owner_of)


@dataclass(frozen=True)
class Read:
    """Keys and values of U prompts by layer, (U, heads, P, d), their mask (U, P), and the prompt of each row (B)."""

    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor
    owner_of: Tensor

    def before(self, rows: Tensor, inputs: dict[str, Any]) -> dict[str, Any]:
        """`inputs` of some rows' completions, which now come after their prompts."""
        owners = self.owner_of[rows]
        past = DynamicCache(ddp_cache_data=[(keys[owners], values[owners]) for keys, values in self.layers])
        mask = torch.cat([self.mask[owners], inputs["attention_mask"]], dim=1)
        return {**inputs, "attention_mask": mask, "past_key_values": past}
