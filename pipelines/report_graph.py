"""The pipeline as a small drawing: stages in layers, edges bundled per source so that they read like a circuit.

Layered layout in the manner of Sugiyama, Tagawa and Toda (1981): longest-path layers, way points for edges that skip
layers, barycentre ordering, then coordinates. All edges of one stage share their way points: a problem set that feeds
six stages is one line with six exits. Lines that only lead to an evaluation are drawn faint: they are not the recipe.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipelines.report_svg import svg, tag


@dataclass(frozen=True)
class Node:
    """A stage in the drawing: `kind` is its second line, `css` its artifact type, `status` may mark a failure."""

    name: str
    kind: str
    css: str
    status: str = ""


Item = tuple[str, int]
"""A stage (its own layer) or a way point of its bundle (a later layer)."""


@dataclass(frozen=True)
class Shape:
    """Sizes in pixels, before the page scales the drawing: `along` the flow and `across` it."""

    along: float
    across: float
    gap_along: float
    gap_across: float
    lane: float = 8.0


WIDE = Shape(along=106, across=46, gap_along=34, gap_across=16)
TALL = Shape(along=42, across=108, gap_along=30, gap_across=14)


def draw(nodes: Sequence[Node], edges: Sequence[tuple[str, str]], *, vertical: bool = False) -> Markup:
    """The graph of `nodes` (in pipeline order) and `edges` (source, target), flowing right, or down if `vertical`."""
    layer = _layers(nodes, edges)
    watched = {node.name for node in nodes if node.css in ("scores", "report")}
    recipe = _segments([edge for edge in edges if edge[1] not in watched], layer)
    segments = list(dict.fromkeys(recipe + _segments(edges, layer)))
    columns = _order(nodes, layer, segments)
    shape = TALL if vertical else WIDE
    centre = _place(columns, segments, layer, shape)
    depth = max(layer.values(), default=0) + 1
    length = depth * shape.along + (depth - 1) * shape.gap_along + 4
    breadth = max((centre[i] + _size(i, layer, shape) / 2 for i in centre), default=0.0) + 2
    css = {node.name: node.css for node in nodes}
    parts = []
    for source, target in segments:
        colour = css[source[0]] if (source, target) in recipe else f"{css[source[0]]} aside"
        parts.append(_edge(source, target, centre, layer, shape, vertical, colour))
    parts += [_node(node, centre[(node.name, layer[node.name])], layer[node.name], shape, vertical) for node in nodes]
    label = "Pipeline: " + "; ".join(f"{a} feeds {b}" for a, b in edges) if edges else "Pipeline"
    size = (breadth, length) if vertical else (length, breadth)
    return svg(*size, label, *parts, css="graph tall" if vertical else "graph wide", style=f"max-width:{size[0]:.0f}px")


def _layers(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Longest path from a stage without inputs. Pipeline order is topological, so one pass is enough."""
    layer: dict[str, int] = {}
    for node in nodes:
        layer[node.name] = max((layer[a] + 1 for a, b in edges if b == node.name and a in layer), default=0)
    return layer


def _segments(edges: Sequence[tuple[str, str]], layer: dict[str, int]) -> list[tuple[Item, Item]]:
    """Edges cut at each layer; the cuts of one source coincide, which bundles them."""
    out: dict[tuple[Item, Item], None] = {}
    for a, b in edges:
        if layer[a] >= layer[b]:
            continue
        way: list[Item] = [(a, step) for step in range(layer[a], layer[b])]
        for pair in zip(way, [*way[1:], (b, layer[b])], strict=True):
            out[pair] = None
    return list(out)


def _order(nodes: Sequence[Node], layer: dict[str, int], segments: list[tuple[Item, Item]]) -> list[list[Item]]:
    """Items of each layer from top to bottom, swept to and fro so that neighbours lie level."""
    items = dict.fromkeys([(n.name, layer[n.name]) for n in nodes] + [i for pair in segments for i in pair])
    columns: list[list[Item]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for item in items:
        columns[item[1]].append(item)
    depths = range(len(columns))
    for step in (1, -1, 1, -1, 1, -1):
        for depth in depths[::step]:
            if 0 <= depth - step < len(columns):
                _sort_by_neighbours(columns[depth], columns[depth - step], segments)
    _untangle(columns, segments)
    return columns


def _untangle(columns: list[list[Item]], segments: list[tuple[Item, Item]]) -> None:
    """Swap neighbours of a layer while that makes fewer crossings; at most 20 rounds."""
    least = _crossings(columns, segments)
    for _ in range(20):
        before = least
        for column in columns:
            for i in range(len(column) - 1):
                column[i], column[i + 1] = column[i + 1], column[i]
                now = _crossings(columns, segments)
                if now < least:
                    least = now
                else:
                    column[i], column[i + 1] = column[i + 1], column[i]
        if least == before:
            return


def _crossings(columns: list[list[Item]], segments: list[tuple[Item, Item]]) -> int:
    rank = {item: i for column in columns for i, item in enumerate(column)}
    ends = [(a[1], rank[a], rank[b]) for a, b in segments]
    pairs = itertools.combinations(ends, 2)
    return sum(p[0] == q[0] and (p[1] - q[1]) * (p[2] - q[2]) < 0 for p, q in pairs)


def _sort_by_neighbours(column: list[Item], beside: list[Item], segments: list[tuple[Item, Item]]) -> None:
    rank = {item: i / max(len(beside) - 1, 1) for i, item in enumerate(beside)}
    here = {item: i / max(len(column) - 1, 1) for i, item in enumerate(column)}
    weight = {}
    for item in column:
        near = [rank[other] for other in _neighbours(item, segments) if other in rank]
        weight[item] = sum(near) / len(near) if near else here[item]
    column.sort(key=lambda item: weight[item])


def _neighbours(item: Item, segments: list[tuple[Item, Item]]) -> list[Item]:
    return [b if a == item else a for a, b in segments if item in (a, b)]


def _size(item: Item, layer: dict[str, int], shape: Shape) -> float:
    return shape.across if layer[item[0]] == item[1] else shape.lane


def _place(
    columns: list[list[Item]], segments: list[tuple[Item, Item]], layer: dict[str, int], shape: Shape
) -> dict[Item, float]:
    """Centre of each item across the flow: pulled level with its neighbours, never overlapping."""
    centre: dict[Item, float] = {}
    for column in columns:
        at = 0.0
        for item in column:
            size = _size(item, layer, shape)
            centre[item] = at + size / 2
            at += size + shape.gap_across
    for sweep in range(24):
        for column in columns if sweep % 2 else reversed(columns):
            wish = {}
            for item in column:
                near = [centre[other] for other in _neighbours(item, segments)]
                wish[item] = sum(near) / len(near) if near else centre[item]
            _settle(column, wish, centre, layer, shape)
    top = min((centre[i] - _size(i, layer, shape) / 2 for i in centre), default=0.0) - 2
    return {item: at - top for item, at in centre.items()}


def _settle(
    column: list[Item], wish: dict[Item, float], centre: dict[Item, float], layer: dict[str, int], shape: Shape
) -> None:
    """Least-squares positions in the given order with the gaps kept (pool adjacent violators)."""
    blocks: list[tuple[float, list[tuple[Item, float]]]] = []
    offset = 0.0
    for i, item in enumerate(column):
        half = _size(item, layer, shape) / 2
        offset += half + (shape.gap_across if i else 0.0)
        block = (wish[item] - offset, [(item, offset)])
        offset += half
        while blocks and blocks[-1][0] > block[0]:
            at, members = blocks.pop()
            total = len(members) + len(block[1])
            block = ((at * len(members) + block[0] * len(block[1])) / total, members + block[1])
        blocks.append(block)
    for at, members in blocks:
        for item, shift in members:
            centre[item] = at + shift


def _edge(
    source: Item, target: Item, centre: dict[Item, float], layer: dict[str, int], shape: Shape, down: bool, css: str
) -> Markup:
    """A curve between two layers; it also crosses the layer of a way point it starts from."""
    pitch = shape.along + shape.gap_along
    begin = 2 + source[1] * pitch + shape.along
    end = 2 + target[1] * pitch
    bend = (end - begin) / 2
    a, b = centre[source], centre[target]
    corners = [(begin, a), (begin + bend, a), (end - bend, b), (end, b)]
    if layer[source[0]] != source[1]:
        corners = [(begin - shape.along, a), *corners]
    xy = [f"{y:.1f},{x:.1f}" if down else f"{x:.1f},{y:.1f}" for x, y in corners]
    lead = f"M{xy[0]} L{xy[1]}" if len(xy) == 5 else f"M{xy[0]}"
    curve = tag("path", d=f"{lead} C{xy[-3]} {xy[-2]} {xy[-1]}", class_=f"edge {css}")
    if layer[target[0]] != target[1]:
        return curve
    tip = [(end, b), (end - 6, b - 3.5), (end - 6, b + 3.5)]
    points = " ".join(f"{y:.1f},{x:.1f}" if down else f"{x:.1f},{y:.1f}" for x, y in tip)
    return curve + tag("polygon", points=points, class_=f"tip {css}")


def _node(node: Node, centre: float, depth: int, shape: Shape, down: bool) -> Markup:
    begin = 2 + depth * (shape.along + shape.gap_along)
    width, height = (shape.across, shape.along) if down else (shape.along, shape.across)
    x, y = (centre - width / 2, begin) if down else (begin, centre - height / 2)
    middle = f"{x + width / 2:.1f}"
    box = tag("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=width, height=height, rx=7)
    name = node.name if len(node.name) <= 14 else node.name[:13] + "…"
    title = tag("text", name, x=middle, y=f"{y + height / 2 - 3:.1f}", class_="name")
    kind = tag("text", node.kind[:18], x=middle, y=f"{y + height / 2 + 13:.1f}", class_="kind")
    return tag(
        "g",
        tag("title", f"{node.name} ({node.kind}) {node.status}"),
        box,
        title,
        kind,
        class_=f"node {node.css} {node.status}",
    )
