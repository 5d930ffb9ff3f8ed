"""vLLM 0.31's CPU rotary kernel rotates 3-D queries and keys by the wrong positions. Needs vllm only.

MLA hands it a query [tokens, heads, size] and a key [tokens, 1, size] (vllm/model_executor/layers/mla.py). The kernel
seems to take `stride(-2)` for the distance between tokens. That is right for [tokens, heads * size] and is the distance
between heads here, so tokens are rotated in place by the angles of others, several times over. The last two
lines show the stride at work: the same key in the same memory, with another stride of its dimension of size 1.
"""

import torch
import vllm._custom_ops as ops
from vllm.platforms import current_platform

current_platform.import_kernels()

TOKENS, HEADS, SIZE = 5, 4, 64
torch.manual_seed(0)
positions = torch.arange(TOKENS)
angles = torch.outer(torch.arange(32.0), 1e4 ** (-torch.arange(0, SIZE, 2) / SIZE))
cache = torch.cat([angles.cos(), angles.sin()], dim=-1)


def reference(x, neox):
    """Rotation of [tokens, heads, size] in plain torch."""
    cos, sin = cache[positions, None].chunk(2, -1)
    a, b = x.chunk(2, -1) if neox else (x[..., ::2], x[..., 1::2])
    parts = [a * cos - b * sin, b * cos + a * sin]
    return torch.cat(parts, -1) if neox else torch.stack(parts, -1).flatten(-2)


def error(query, key, neox=False, *, flat=False):
    """Largest error of the query and of the key; `flat`: handed over as [tokens, heads * size]."""
    expected = reference(query, neox), reference(key, neox)
    given = (query.view(TOKENS, -1), key.view(TOKENS, -1)) if flat else (query, key)
    ops.rotary_embedding(positions, *given, SIZE, cache, neox)
    return " ".join(f"{(x - y).abs().max():8.2e}" for x, y in zip((query, key), expected, strict=True))


def heads(n):
    return torch.randn(TOKENS, n, SIZE)


print("largest error of             query     key")
for neox in (False, True):
    print(f"[tokens, heads * size]    {error(heads(HEADS), heads(1), neox, flat=True)}   is_neox={neox}")
    print(f"[tokens, heads, size]     {error(heads(HEADS), heads(1), neox)}   is_neox={neox}")
for stride in ((576, 576, 1), (576, 64, 1)):
    key = torch.randn(TOKENS * 576).as_strided((TOKENS, 1, SIZE), stride)
    print(f"key strides {stride!s:<13} {error(heads(1), key)}   one head")
