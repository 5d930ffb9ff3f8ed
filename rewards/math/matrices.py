r"""Matrices, vectors and what is computed of them: multiples, sums and products; `[[1, 2], [3, 4]]`, `3i - j + 2k`."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from rewards.math.parse import tree_of
from rewards.math.relations import Same, all_same
from rewards.math.structure import tuple_items
from rewards.math.trees import Tree, replaced
from rewards.math.value import same_value, variables

BLOCK = re.compile(
    r"\\begin\s*\{(?P<kind>[a-zA-Z]*matrix|array)\}(?:\s*\{[lcr| ]*\})?(?P<body>.*?)\\end\s*\{(?P=kind)\}", re.DOTALL
)
BRACKETS = re.compile(r"[\[(|]?\s*(\\begin.*\\end\s*\{[a-zA-Z]+\})\s*(?:[\])|])?", re.DOTALL)
NESTED = re.compile(r"(?:Matrix\s*\(\s*)?[\[(]\s*(?P<rows>\[[^\[\]]*\](?:\s*,\s*\[[^\[\]]*\])*)\s*[\])]\s*\)?")
MOST_CELLS = 100
MOST_FACTORS = 8

TRANSPOSED = re.compile(r"(?P<of>.*[)\]}])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\x01T\x02)\s*\}?\s*", re.DOTALL)

Trees = list[list[Tree]]


def same_matrix(gold: str, answer: str, same: Same) -> bool | None:
    """Matrices entry by entry; a vector in any writing: column, row, `(1, 2)`, `\\langle 1, 2 \\rangle`, `i + 2j`."""
    left, right = matrix(gold), matrix(answer)
    if left is not None and right is not None:
        if left[0] != right[0] or [len(r) for r in left[1]] != [len(r) for r in right[1]]:
            return False
        return all(all_same(row, other, same) for row, other in zip(left[1], right[1], strict=True))
    if "\\begin" not in gold and "\\begin" not in answer and left is None and right is None:
        return None
    mine, theirs = entries(gold), entries(answer)
    if mine is not None and theirs is not None:
        return [len(row) for row in mine] == [len(row) for row in theirs] and all(
            same_value(a, b)
            for row, other in zip(mine, theirs, strict=True)
            for a, b in zip(row, other, strict=True)
        )  # fmt: skip
    cells, others = vector(gold) or tuple_items(gold), vector(answer) or tuple_items(answer)
    if cells is not None and others is not None:
        return all_same(cells, others, same)
    first, second = _components(gold, cells, mine), _components(answer, others, theirs)
    if first is None or second is None or len(first) != len(second):
        return False
    return all(same_value(a, b) for a, b in zip(first, second, strict=True))


def _components(text: str, cells: list[str] | None, computed: Trees | None) -> list[Tree] | None:
    """The components of a vector: its cells, what a computed row or column holds, or those along i, j, k."""
    if cells is not None:
        trees = [tree_of(cell) for cell in cells]
        known = [tree for tree in trees if tree is not None]
        return known if len(known) == len(trees) else None
    if computed is not None:
        return _line(computed)
    return unit_vectors(text)


def _line(rows: Trees) -> list[Tree] | None:
    if len(rows) == 1:
        return rows[0]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else None


@lru_cache(maxsize=256)
def matrix(text: str) -> tuple[str, tuple[tuple[str, ...], ...]] | None:
    """`("matrix" or "determinant", rows of cells)` where the whole text is one matrix, with or without brackets."""
    if "^" in text and (transposed := TRANSPOSED.fullmatch(text.strip())) is not None:
        return _transposed(transposed["of"])
    if "\\begin" not in text:
        nested = NESTED.fullmatch(text.strip())
        if nested is None:
            return None
        return "matrix", tuple(tuple(row.split(",")) for row in re.findall(r"\[([^\[\]]*)\]", nested["rows"]))
    stripped = text.strip()
    inside = BRACKETS.fullmatch(stripped)
    found = BLOCK.fullmatch(inside[1] if inside is not None else stripped)
    if found is None or "\\begin" in found["body"]:
        return None
    bars = found["kind"] in ("vmatrix", "Vmatrix") or (stripped.startswith("|") and stripped.endswith("|"))
    return "determinant" if bars else "matrix", _rows(found["body"])


def _transposed(text: str) -> tuple[str, tuple[tuple[str, ...], ...]] | None:
    """Of a matrix, or of a tuple, which is a row."""
    found, row = matrix(text), tuple_items(text)
    if found is None and row is not None and len(row) > 1:
        found = "matrix", (tuple(row),)
    if found is None or found[0] != "matrix" or len({len(row) for row in found[1]}) != 1:
        return None
    return "matrix", tuple(zip(*found[1], strict=True))


def _rows(body: str) -> tuple[tuple[str, ...], ...]:
    rows = (row.replace("\\hline", "") for row in body.split("\x03"))
    return tuple(tuple(cell.strip() for cell in row.split("&")) for row in rows if row.strip())


def entries(text: str) -> Trees | None:
    """The entries of a matrix expression as trees; None where the text is none."""
    if "\\begin" not in text:
        return None
    blocks: list[Trees] = []
    for found in BLOCK.finditer(text):
        cells = [[tree_of(cell) for cell in row] for row in _rows(found["body"])]
        known = [[cell for cell in row if cell is not None] for row in cells]
        if (
            not cells
            or known != cells
            or len({len(row) for row in cells}) != 1
            or len(cells) * len(cells[0]) > MOST_CELLS
        ):
            return None
        blocks.append(known)
    if not 0 < len(blocks) <= MOST_FACTORS or "vmatrix" in text.lower():
        return None
    numbers = iter(range(len(blocks)))
    tree = tree_of(BLOCK.sub(lambda _: f" Q_{{{9000 + next(numbers)}}} ", text))
    if tree is None:
        return None
    value = _evaluated(tree, {f"Q_{9000 + i}": block for i, block in enumerate(blocks)})
    return value if isinstance(value, list) else None


def _evaluated(tree: Tree, blocks: dict[str, Trees]) -> Trees | Tree | None:
    kind = tree[0]
    if kind == "var" and tree[1] in blocks:
        return blocks[tree[1]]
    if kind not in ("neg", "add", "mul", "div", "pow"):
        return tree
    a = _evaluated(tree[1], blocks)
    b = _evaluated(tree[2], blocks) if len(tree) > 2 else None
    if a is None or (b is None and len(tree) > 2):
        return None
    if not isinstance(a, list) and not isinstance(b, list):
        return tree
    if kind == "neg" and isinstance(a, list):
        return [[("neg", cell) for cell in row] for row in a]
    if kind == "add" and isinstance(a, list) and isinstance(b, list):
        return _sum(a, b)
    if kind == "mul":
        return _product(a, b)
    if kind == "div" and isinstance(a, list) and not isinstance(b, list):
        return [[("div", cell, b) for cell in row] for row in a]
    return None


def _sum(a: Trees, b: Trees) -> Trees | None:
    if [len(row) for row in a] != [len(row) for row in b]:
        return None
    return [[("add", x, y) for x, y in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]


def _product(a: Trees | Tree | None, b: Trees | Tree | None) -> Trees | None:
    if isinstance(a, list) and isinstance(b, list):
        if len(a[0]) != len(b):
            return None
        return [[_dot(row, [other[j] for other in b]) for j in range(len(b[0]))] for row in a]
    scalar, cells = (b, a) if isinstance(a, list) else (a, b)
    assert isinstance(cells, list)
    return [[("mul", scalar, cell) for cell in row] for row in cells]


def _dot(row: list[Tree], column: list[Tree]) -> Tree:
    total: Tree = ("mul", row[0], column[0])
    for x, y in zip(row[1:], column[1:], strict=True):
        total = ("add", total, ("mul", x, y))
    return total


def unit_vectors(text: str) -> list[Tree] | None:
    """The components of `3i - j + 2k`."""
    tree = tree_of(text)
    if tree is None or not variables(tree) & {"j", "k"} or not variables(tree) <= {"j", "k"}:
        return None
    tree = replaced(tree, {("const", "i"): ("var", "i")})
    zero, one = ("num", Fraction(0)), ("num", Fraction(1))
    names = ("i", "j", "k") if "k" in variables(tree) else ("i", "j")
    return [replaced(tree, {("var", name): one if name == axis else zero for name in "ijk"}) for axis in names]


def vector(text: str) -> list[str] | None:
    """The cells of a matrix of one row or one column."""
    found = matrix(text)
    if found is None or found[0] != "matrix" or not found[1]:
        return None
    if len(found[1]) == 1:
        return list(found[1][0])
    return [row[0] for row in found[1]] if all(len(row) == 1 for row in found[1]) else None
