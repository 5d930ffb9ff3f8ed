"""Which metrics belong in one chart: rules for the names stages log, and a fallback for names nobody foresaw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report_data import Json, StageRecord, first, number
from pipelines.report_svg import Chart, Series, heat_map, line_chart

NOT_METRICS = re.compile(r"^(step|epoch|time|timestamp|global_step|n_samples|resumed)$")


@dataclass(frozen=True)
class Rule:
    """Metrics whose name matches `pattern` share one chart called `title`."""

    title: str
    pattern: str
    percent: bool = False
    log: bool = False


RULES = [
    Rule("Reward", r"reward(/mean|_mean|/std|_std)?"),
    Rule("Reward parts", r"(rewards?|parts?)/.+"),
    Rule("Accuracy", r"(.*[/_])?(accuracy|acc|pass@1)([/_].*)?", percent=True),
    Rule("Completion length (tokens)", r"(?!.*clip)(.*[/_])?(mean_)?(length|tokens|len)([/_].*)?"),
    Rule("Entropy (nats per token)", r"(.*[/_])?entropy([/_].*)?"),
    Rule("KL to the reference (nats per token)", r"(.*[/_])?kl([/_].*)?"),
    Rule("Canary gap (trainer against engine)", r"canary.*(gap|max|mean).*|canary", log=True),
    Rule("Expert load: MaxVio per layer", r"(?i).*max_?vio.*"),
    Rule("Loss", r"(.*[/_])?loss([/_].*)?"),
    Rule("Zero-variance groups", r".*(zero_(var|std|variance)|degenerate).*", percent=True),
    Rule("Unfinished or clipped completions", r".*(unfinished|truncat|clipped_ratio|finished).*", percent=True),
    Rule("Clipped tokens", r".*clip.*", percent=True),
    Rule("Gradient norm", r"(.*[/_])?grad(ient)?_?norm.*"),
    Rule("Learning rate", r"(.*[/_])?(lr|learning_rate)"),
    Rule("Seconds per step", r".*(_s|_time|seconds|_sec)|time/.*|.*_seconds/.*"),
]


def charts(stage: StageRecord, points: int) -> list[Chart]:
    """Everything the stage logged, as charts in a fixed order; `points` bounds the points of one series."""
    rows = [row for row in stage.rows if isinstance(row, dict)]
    steps = [number(row.get("step")) for row in rows]
    xs = [float(i) if step is None else step for i, step in enumerate(steps)]
    named: dict[str, None] = {}
    for row in rows:
        named.update(dict.fromkeys(key for key in row if not NOT_METRICS.match(key)))
    loads, names = _loads(rows, list(named))
    drawn: list[Chart | None] = []
    for title, keys, rule in _grouped(names):
        labels = short_labels(keys)
        series = [Series(labels[key], xs, [number(row.get(key)) for row in rows]) for key in keys]
        limit = _limit(stage, title)
        drawn.append(
            line_chart(title, series, log=rule.log, percent=_is_share(rule, series), limit=limit, points=points)
        )
    budget = 6000 // max(len(loads), 1)
    drawn += [heat_map(title, xs, grid, cells=budget) for title, grid in loads]
    return [chart for chart in drawn if chart is not None]


def _is_share(rule: Rule, series: Sequence[Series]) -> bool:
    values = [y for s in series for y in s.finite()]
    return rule.percent and all(0 <= y <= 1 for y in values)


def _grouped(names: list[str]) -> list[tuple[str, list[str], Rule]]:
    """(title, metric names, rule) per chart: known metrics in the order of RULES, the rest by prefix."""
    groups: dict[str, tuple[list[str], Rule]] = {rule.title: ([], rule) for rule in RULES}
    for name in names:
        rule = next((r for r in RULES if re.fullmatch(r.pattern, name)), None)
        if rule is None:
            prefix = name.split("/")[0].replace("_", " ")
            rule = Rule(prefix, "")
        groups.setdefault(rule.title, ([], rule))[0].append(name)
    return [(title, keys, rule) for title, (keys, rule) in groups.items() if keys]


def short_labels(keys: list[str]) -> dict[str, str]:
    """Each name without the path that all of them share (`rewards/math` beside `rewards/code` is `math`)."""
    parts = [key.split("/") for key in keys]
    shared = 0
    while len(keys) > 1 and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    if len(keys) == 1:
        shared = len(parts[0]) - 1
    return {key: "/".join(p[shared:]) for key, p in zip(keys, parts, strict=True)}


def _limit(stage: StageRecord, title: str) -> float | None:
    """The line the canary must stay under, where the stage's config names it."""
    config = stage.manifest.get("config")
    if not title.startswith("Canary") or not isinstance(config, dict):
        return None
    nested = config.get("canary")
    inner = first(nested, "limit", "tolerance", "max_gap", "atol") if isinstance(nested, dict) else None
    return number(inner) or number(first(config, "canary_limit", "canary_tolerance", "canary_max_gap", "max_gap"))


Grid = list[list[float | None]]


def _loads(rows: list[Json], names: list[str]) -> tuple[list[tuple[str, Grid]], list[str]]:
    """Per-expert loads as (title, grid[expert][step]), and the names that are no loads.

    Two spellings are read: one list per layer and step (`"load/1": [0.1, 0.2, ...]`), or one number per expert
    (`"load/1/expert3": 0.1`). At most eight layers are shown, evenly spread.
    """
    lists = [n for n in names if any(isinstance(row.get(n), list) for row in rows)]
    found: dict[str, Grid] = {}
    for name in lists:
        width = max(len(row[name]) for row in rows if isinstance(row.get(name), list))
        columns = [row[name] if isinstance(row.get(name), list) else [] for row in rows]
        if 2 <= width <= 512:
            found[name] = [[number(c[e]) if e < len(c) else None for c in columns] for e in range(width)]
    single: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = re.fullmatch(r"(.*load.*?)[/_.]?expert[/_.]?(\d+)", name)
        if match:
            single.setdefault(match[1].rstrip("/_."), []).append((int(match[2]), name))
    for title, members in single.items():
        found[title] = [[number(row.get(name)) for row in rows] for _, name in sorted(members)]
    used = {name for members in single.values() for _, name in members} | set(lists)
    titles = list(found)
    picked = titles if len(titles) <= 8 else [titles[i * len(titles) // 8] for i in range(8)]
    return [(f"Expert load, {title}", found[title]) for title in picked], [n for n in names if n not in used]
