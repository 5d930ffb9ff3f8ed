r"""Expression trees.

Trees are tuples: `("num", Fraction)`, `("var", "x")`, `("const", "pi" | "e" | "i" | "inf")`, `("add" | "mul", a, b)`,
`("div", a, b)`, `("pow", a, b)`, `("neg", a)`, `("call", name, argument, ...)`, and the binders
`("sum" | "prod", body, variable, low, high)`, `("int", body, variable[, low, high])`, `("lim", body, variable, point)`,
`("diff", body, variable)`. A bound variable is renamed to `#depth`, so that its letter does not matter. An indexed
letter whose index is no plain label, `F_{n-1}`, is a call of the unknown function `@F`, and `f(2)` one of `@f()`.
"""

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
