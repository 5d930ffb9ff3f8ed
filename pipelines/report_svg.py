"""Charts as inline SVG, made of text alone: a line chart, a heat map and nothing to install.

Colours are CSS classes of the page (`s0`..`s7`, `hot`, `cold`), so one drawing serves light, dark and print. Every
text and attribute goes through `markupsafe.escape`: series are named by metrics, and metrics by users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

COLOURS = 8
WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 26
SMOOTH_FROM = 40
"""Series with fewer points than this are drawn as they are."""


@dataclass(frozen=True)
class Series:
    """`ys[i]` at step `xs[i]`; None is a gap (not logged, NaN or infinite)."""

    label: str
    xs: list[float]
    ys: list[float | None]

    def finite(self) -> list[float]:
        """The values that are numbers, in order."""
        return [y for y in self.ys if y is not None]


@dataclass(frozen=True)
class Chart:
    """A drawing with what a page puts around it: `legend` lists (colour class, label, last value)."""

    title: str
    svg: Markup
    legend: list[tuple[str, str, str]]
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from data `low..high` to pixels `start..stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.stop - self.start)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One SVG element; `class_` is class, `_` in a name becomes `-`; children and values are escaped."""
    parts = [f'{key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()]
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{' '.join([name, *parts])}>{inner}</{name}>")


def svg(width: float, height: float, label: str, *children: object, css: str = "", **attributes: object) -> Markup:
    """An `<svg>` of the given view box that a screen reader announces as one image called `label`."""
    box = f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" class="{escape(css)}"'
    extra = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<svg {box}{extra}>{''.join(escape(c) for c in children)}</svg>")


def pretty(value: float | None) -> str:
    """A number as a person writes it: three or four significant digits, thousands separated."""
    if value is None:
        return "–"
    size = abs(value)
    if value == 0:
        return "0"
    if size < 1e-3 or size >= 1e7:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}" if size >= 100 else f"{value:.3g}"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values that cover `low..high`, roughly `about` of them."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    begin, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(begin, max(end, begin + 1) + 1)]


def thin(series: Series, limit: int) -> Series:
    """At most `limit` points: means of equal slices, so that a long run keeps its shape."""
    if len(series.xs) <= limit:
        return series
    xs, ys = [], []
    for i in range(limit):
        cut = slice(i * len(series.xs) // limit, (i + 1) * len(series.xs) // limit)
        known = [y for y in series.ys[cut] if y is not None]
        xs.append(series.xs[cut][-1])
        ys.append(sum(known) / len(known) if known else None)
    return Series(series.label, xs, ys)


def smooth(ys: Sequence[float | None], window: int) -> list[float | None]:
    """Centred moving average over `window` neighbours; a gap stays a gap."""
    half = window // 2
    out: list[float | None] = []
    for i, y in enumerate(ys):
        near = [v for v in ys[max(0, i - half) : i + half + 1] if v is not None]
        out.append(sum(near) / len(near) if y is not None else None)
    return out


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    log: bool = False,
    percent: bool = False,
    limit: float | None = None,
    points: int = 200,
) -> Chart | None:
    """A chart of up to eight series over steps; None when no series has a finite value.

    `percent` fixes the axis to 0..100 % (for values in 0..1), `log` takes decades (a zero sits on the floor), `limit`
    draws a dashed line that the values should stay under, `points` bounds the points drawn per series.
    """
    shown = [s for s in series if s.finite()]
    left_out = len(shown) - COLOURS
    shown = shown[:COLOURS]
    if not shown:
        return None
    thinned = [thin(s, points) for s in shown]
    values = [y for s in thinned for y in s.finite()]
    log = log and any(y > 0 for y in values)
    across = Scale(min(s.xs[0] for s in shown), max(s.xs[-1] for s in shown), LEFT, WIDTH - RIGHT)
    up, marks = _vertical(values + ([limit] if limit is not None else []), log, percent)
    window = max(len(s.xs) for s in thinned) // 30 * 2 + 1
    rough = len(shown) <= 3 and max(len(s.xs) for s in thinned) >= SMOOTH_FROM and not log
    rough = rough and any(_is_rough(s, window, up) for s in thinned)
    body = [_axes(across, up, marks, percent), _limit_line(up, limit)]
    for i, s in enumerate(thinned):
        body.append(_series(s, i, across, up, window if rough else 0))
    label = f"{title}. " + "; ".join(_in_words(s, percent) for s in shown)
    frame = {"data_x": f"{across.low:g} {across.high:g}", "data_y": f"{up.low:g} {up.high:g}", "data_log": int(log)}
    drawing = svg(WIDTH, HEIGHT, label, *body, css="chart", data_pct=int(percent), **frame)
    notes = [f"bold: mean over {window} points; faint: as logged"] if rough else []
    notes += [f"{left_out} more series not drawn"] if left_out > 0 else []
    legend = [(f"s{i}", s.label, _value(s.finite()[-1], percent)) for i, s in enumerate(shown)]
    return Chart(title, drawing, legend, "; ".join(notes))


def _is_rough(s: Series, window: int, up: Scale) -> bool:
    """Whether smoothing would move any point by more than 3% of the axis."""
    pairs = zip(s.ys, smooth(s.ys, window), strict=True)
    return any(abs(a - b) > 0.03 * (up.high - up.low) for a, b in pairs if a is not None and b is not None)


def _value(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}%" if percent else pretty(value)


def _in_words(s: Series, percent: bool) -> str:
    known = s.finite()
    begin, end = _value(known[0], percent), _value(known[-1], percent)
    extent = f"{_value(min(known), percent)} to {_value(max(known), percent)}"
    return f"{s.label}: {begin} at the start, {end} at the end, range {extent}"


def _vertical(values: list[float], log: bool, percent: bool) -> tuple[Scale, list[float]]:
    """The upward axis that holds all values, and where its grid lines go."""
    low, high = min(values), max(values)
    if log:
        positive = [v for v in values if v > 0]
        bottom, top = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
        bottom -= 1 if low <= 0 or bottom == top else 0
        stride = max(1, math.ceil((top - bottom) / 5))
        marks = [10.0**e for e in range(bottom, top + 1, stride)]
        return Scale(10.0**bottom, 10.0**top, HEIGHT - BOTTOM, TOP, log=True), marks
    if percent and low >= 0 and 0.3 < high <= 1:
        low, high, marks = 0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]
    else:
        if low == high:  # a constant sits in the middle
            low, high = (0.0, 2 * low) if low > 0 else (2 * low, 0.0) if low < 0 else (0.0, 1.0)
        marks = ticks(0.0 if 0 <= low < 0.6 * high else low, high)
    return Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP), marks


def _axes(across: Scale, up: Scale, marks: list[float], percent: bool) -> Markup:
    parts = []
    for mark in marks:
        y = up(mark)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        text = f"{100 * mark:g}%" if percent else _power(mark) if up.log else pretty(round(mark, 12))
        parts.append(tag("text", text, x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    steps = [t for t in ticks(across.low, across.high, 5) if across.low <= t <= across.high and t == int(t)]
    for t in steps or [across.low]:
        anchor = "middle" if across(t) < WIDTH - RIGHT - 12 else "end"
        parts.append(tag("text", f"{t:,.0f}", x=f"{across(t):.1f}", y=HEIGHT - BOTTOM + 17, text_anchor=anchor))
    return tag("g", *parts, class_="axes")


def _power(value: float) -> str:
    """A whole power of ten as `1e-4`; other values as usual."""
    exponent = round(math.log10(value)) if value > 0 else 0
    whole = value > 0 and math.isclose(value, 10.0**exponent)
    return f"1e{exponent}" if whole and not 0 <= exponent <= 3 else pretty(value)


def _limit_line(up: Scale, limit: float | None) -> Markup:
    if limit is None:
        return Markup("")
    y = f"{up(limit):.1f}"
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)
    text = tag(
        "text",
        f"limit {_power(limit) if up.log else pretty(limit)}",
        x=WIDTH - RIGHT,
        y=f"{up(limit) + 13:.1f}",
        text_anchor="end",
    )
    return tag("g", line, text, class_="limit")


def _series(s: Series, index: int, across: Scale, up: Scale, window: int) -> Markup:
    """One polyline per unbroken stretch; a lone point becomes a dot. With a window, the raw values stay faint."""
    layers = [("raw", s.ys), ("", smooth(s.ys, window))] if window else [("", s.ys)]
    parts: list[Markup] = []
    for css, ys in layers:
        stretch: list[str] = []
        for x, y in [*zip(s.xs, ys, strict=True), (0.0, None)]:
            if y is not None:
                stretch.append(f"{across(x):.1f},{up(y):.1f}")
            elif stretch:
                parts.append(_stroke(stretch, css))
                stretch = []
    return tag("g", *parts, class_=f"line s{index % COLOURS}", data_label=s.label)


def _stroke(stretch: list[str], css: str) -> Markup:
    if len(stretch) == 1:
        x, y = stretch[0].split(",")
        return tag("circle", cx=x, cy=y, r=2.5, class_=css)
    return tag("polyline", points=" ".join(stretch), class_=css)


def heat_map(title: str, steps: Sequence[float], rows: Sequence[Sequence[float | None]], *, cells: int) -> Chart | None:
    """Load of each expert (a row) over steps (columns), as a multiple of an equal share.

    `rows[expert][i]` is any measure of load at `steps[i]`; each column is divided by its mean, so counts, fractions
    and probabilities look alike. At most `cells` cells are drawn (neighbouring steps are averaged).
    """
    if not steps or not rows:
        return None
    columns = max(1, min(len(steps), cells // len(rows), 120))
    grid = [thin(Series("", list(steps), list(row)), columns).ys for row in rows]
    width, height = (WIDTH - LEFT - RIGHT) / columns, max(3.0, min(18.0, 160 / len(rows)))
    parts: list[Markup] = []
    worst = 0.0
    for i in range(columns):
        known = [row[i] for row in grid if row[i] is not None]
        mean = sum(v for v in known if v is not None) / len(known) if known else 0.0
        for j, row in enumerate(grid):
            value = row[i]
            if value is None or mean <= 0:
                continue
            share = value / mean
            worst = max(worst, share)
            heat = min(1.0, abs(math.log2(max(share, 0.25))) / 2)
            spot = {"x": f"{LEFT + i * width:.1f}", "y": f"{TOP + j * height:.1f}"}
            size = {"width": f"{width + 0.3:.1f}", "height": f"{height - 0.6:.1f}"}
            css = "hot" if share >= 1 else "cold"
            parts.append(tag("rect", **spot, **size, class_=css, fill_opacity=f"{0.06 + 0.94 * heat:.2f}"))
    bottom = TOP + height * len(rows)
    for j in sorted({0, len(rows) - 1}):
        y = TOP + (j + 0.5) * height + 4
        parts.append(tag("text", f"{j}", x=LEFT - 6, y=f"{y:.1f}", text_anchor="end"))
    parts.append(tag("text", pretty(steps[0]), x=LEFT, y=f"{bottom + 15:.1f}"))
    parts.append(tag("text", pretty(steps[-1]), x=WIDTH - RIGHT, y=f"{bottom + 15:.1f}", text_anchor="end"))
    label = f"{title}: load of {len(rows)} experts over {len(steps)} steps; at most {worst:.2f} times an equal share"
    drawing = svg(WIDTH, bottom + 20, label, *parts, css="chart heat")
    return Chart(
        title, drawing, [], f"A row is an expert; orange: more than an equal share (at most {worst:.2f}x), blue: less"
    )
