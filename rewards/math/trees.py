"""Expression trees: what they are is said in `rewards.math.parse`, which makes them."""

from __future__ import annotations

from typing import Any

Tree = tuple[Any, ...]


def replaced(tree: Tree, exchange: dict[Tree, Tree]) -> Tree:
    """The tree with some subtrees put for others."""
    kept = exchange.get(tree)
    return kept or tuple(replaced(child, exchange) if isinstance(child, tuple) else child for child in tree)


def is_plain_fraction(tree: Tree) -> bool:
    """Of two plain numbers."""
    return bool(tree[0] == "div" and tree[1][0] == "num" and tree[2][0] == "num")
