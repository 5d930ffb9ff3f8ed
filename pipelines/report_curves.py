"""Which metrics belong in one chart: rules for the names stages log, and a fallback for names nobody foresaw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report_data import Json, StageRecord, number
from pipelines.report_svg import Chart, Series, heat_map, line_chart

NOT_METRICS = re.compile(r"^(step|epoch|time|timestamp|global_step|n_samples|resumed|hacking_alarm)$")


@dataclass(frozen=True)
class Rule:
    """Metrics whose name matches `pattern` share one chart called `title`."""

    title: str
    pattern: str
    percent: bool = False
    log: bool = False
    main: bool = True


RULES = [
    Rule("Reward", r"reward(/mean|_mean|/std|_std)?"),
    Rule("Reward parts", r"(rewards?|parts?)/.+"),
    Rule("Reward model against rules that nothing is trained on (held-out)", r"watch/.+"),
    Rule("Accuracy", r"(.*[/_])?(accuracy|acc|pass@1)([/_].*)?", percent=True),
    Rule("Completion length (tokens)", r"(?!.*clip|num_tokens|n_tokens)(.*[/_])?(mean_)?(length|tokens|len)([/_].*)?"),
    Rule("Entropy (nats per token)", r"(.*[/_])?entropy([/_].*)?"),
    Rule("KL to the reference (nats per token)", r"(.*[/_])?kl([/_].*)?"),
    Rule("Canary gap (trainer against engine)", r"canary.*(gap|max|mean).*|canary", log=True),
    Rule("Expert load: MaxVio per layer", r"(?i).*max_?vio.*"),
    Rule("Expert load: emptiest expert, share of the mean", r".*min_load.*", main=False),
    Rule("Engine against trainer: log-probability difference (nats)", r"mismatch/.*", log=True),
    Rule("Loss", r"(?!aux)(.*[/_])?loss([/_].*)?"),
    Rule("Reflective words in an answer (R1's list)", r"reflection"),
    Rule("Finished completions", r"finished", percent=True),
    Rule("Zero-variance groups", r".*(zero_(var|std|variance)|degenerate).*", percent=True),
    Rule("Unfinished or clipped completions", r".*(unfinished|truncat|clipped_ratio).*", percent=True),
    Rule("Clipped tokens", r".*clip.*", percent=True, main=False),
    Rule("Gradient norm", r"(.*[/_])?grad(ient)?_?norm.*", main=False),
    Rule("Learning rate", r"(.*[/_])?(lr|learning_rate)", main=False),
    Rule("Seconds per step", r".*(_s|_time|seconds|_sec)|time/.*|seconds/.*", main=False),
]


def charts(stage: StageRecord, points: int) -> tuple[list[Chart], list[Chart]]:
    """Everything the stage logged, as charts in a fixed order: those to look at first, and the rest.

    `points` bounds the points of one series.
    """
    rows = [row for row in stage.rows if isinstance(row, dict)]
    steps = [number(row.get("step")) for row in rows]
    xs = [float(i) if step is None else step for i, step in enumerate(steps)]
    named: dict[str, None] = {}
    for row in rows:
        named.update(dict.fromkeys(key for key in row if not NOT_METRICS.match(key)))
    loads, names = _loads(rows, list(named))
    front: list[Chart | None] = []
    rest: list[Chart | None] = []
    for title, keys, rule in _grouped(names):
        labels = _by_layer(keys) or short_labels(keys)
        series = [Series(labels[key], xs, [number(row.get(key)) for row in rows]) for key in keys]
        limit = _limit(stage, title)
        share = _is_share(rule, series)
        chart = line_chart(title, series, log=rule.log, percent=share, limit=limit, points=points)
        (front if rule.main else rest).append(chart)
    budget = 6000 // max(len(loads), 1)
    front += [heat_map(title, xs, grid, cells=budget) for title, grid in loads]
    return [c for c in front if c is not None], [c for c in rest if c is not None]


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
            rule = Rule(prefix, "", main=False)
        groups.setdefault(rule.title, ([], rule))[0].append(name)
    return [(title, keys, rule) for title, (keys, rule) in groups.items() if keys]


def short_labels(keys: list[str]) -> dict[str, str]:
    """Each name without the path that all share: `part/math` beside `part/code` is `math`."""
    root = next((key for key in keys if len(keys) > 1 and all(k == key or k.startswith(f"{key}/") for k in keys)), "")
    if root:  # a number over everything beside the same number per part: `accuracy`, `accuracy/math`
        return {key: key.removeprefix(root).lstrip("/") or "all" for key in keys}
    parts = [key.split("/") for key in keys]
    shared = 0
    while len(keys) > 1 and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    if len(keys) == 1:
        shared = len(parts[0]) - 1
    return {key: "/".join(p[shared:]) for key, p in zip(keys, parts, strict=True)}


def _by_layer(keys: list[str]) -> dict[str, str] | None:
    """Labels for `name` (a mean over layers) beside `name/1`, `name/2`...; None when the keys are not of that form."""
    ends = [re.fullmatch(r"(.+?)(?:/(\d+))?", key) for key in keys]
    if len(keys) < 2 or len({end[1] for end in ends if end}) != 1 or None in ends:
        return None
    return {key: f"layer {end[2]}" if end[2] else "mean" for key, end in zip(keys, ends, strict=True) if end}


def _limit(stage: StageRecord, title: str) -> float | None:
    """The line the canary must stay under, where the stage's config names it."""
    config = stage.manifest.get("config")
    return number(config.get("canary_max_gap")) if title.startswith("Canary") and isinstance(config, dict) else None


def _load_title(name: str) -> str:
    layer = re.search(r"(\d+)$", name)
    return f"Expert load, layer {layer[1]}" if layer else f"Expert load, {name}"


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
    return [(_load_title(title), found[title]) for title in picked], [n for n in names if n not in used]
