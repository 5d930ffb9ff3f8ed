"""What the page shows, made ready for the template: plain values and finished drawings, no logic left to Jinja."""

from __future__ import annotations

import inspect
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.report_cost import costs
from pipelines.report_curves import charts
from pipelines.report_data import DAMAGED, REPAIR, Json, Run, ScoreSet, StageRecord, first, mapping, number
from pipelines.report_graph import Node, draw
from pipelines.report_measures import by_family, measured
from pipelines.report_paired import Difference, compare, p_text
from pipelines.report_samples import Transcript, first_completions, read_samples, transcripts
from pipelines.report_svg import pretty
from pipelines.report_words import MOST, Manner, manners

DASH = "–"
MAX_BYTES = 2_000_000
DETAIL = ((200, 4000, 4), (100, 1500, 3), (40, 500, 2))
"""(points per series, characters per completion, problems per family): the first that keeps the page small wins."""


@dataclass(frozen=True)
class Bar:
    """One accuracy with its interval, in percent of the axis; None where it was not measured."""

    model: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    error: str


@dataclass(frozen=True)
class ScoreBlock:
    """One eval stage: bars per family, the whole table as text, its measures by family, and what its samples say.

    rewards: (name, weight, what it gives) of everything that graded them.
    """

    stage: str
    protocol: str
    ungraded: str
    slices: list[tuple[str, list[Bar]]]
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    by_family: tuple[list[str], list[tuple[str, list[str]]]]
    differences: list[Difference]
    manners: list[tuple[str, list[str]]]
    rewards: list[tuple[str, str, str]]
    transcripts: list[Transcript]


Step = tuple[str, int, float, int, list[str]]
"""(name, left after it, share of the first in percent, dropped, examples)"""


@dataclass(frozen=True)
class FunnelBlock:
    """One stage that filters. lists: the steps of its problems, where they were filtered, then of its completions.

    charts: (title, [(label, problems, height in percent)]) for pass rates and yield, where the stage counted them.
    """

    stage: str
    problems: str
    lists: list[list[Step]]
    charts: list[tuple[str, list[tuple[str, int, float]]]]


@dataclass(frozen=True)
class StageBlock:
    """One row of the stage table."""

    name: str
    kind: str
    status: str
    error: str
    failed: bool
    wall: str
    key: str
    seed: str
    inputs: str
    config: list[tuple[str, str]]
    metrics: list[tuple[str, str]]
    digests: list[tuple[str, str]]


def html(run: Run) -> str:
    """The page of a run, under 2 MB: a big run loses points of curves and ends of transcripts, and says so."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    template = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "report.html.j2"
    )
    page = ""
    for points, chars, per_family in DETAIL:
        page = template.render(view(run, points, chars, per_family))
        if len(page.encode()) < MAX_BYTES:
            break
    return page


def view(run: Run, points: int, chars: int, per_family: int) -> dict[str, Any]:
    """All that the template may use."""
    nodes = [Node(s.name, s.kind, s.produces, "failed" if _failed(s) else "") for s in run.stages]
    edges = list(dict.fromkeys((source, s.name) for s in run.stages for _, source in s.inputs))
    curves = [(s.name, s.kind, *charts(s, points)) for s in run.stages if s.rows]
    order = {"grpo": 0, "sft": 1}
    graphs: list[Markup] = [draw(nodes, edges), draw(nodes, edges, vertical=True)] if len(nodes) > 1 else []
    return {
        "name": run.name,
        "duration": duration,
        "p_text": p_text,
        "headline": headline(run),
        "facts": facts(run),
        "damage": run.damage(),
        "repair": REPAIR.replace("`", ""),
        "graphs": graphs,
        "kinds": list(dict.fromkeys(node.css for node in nodes)),
        "scores": [score_block(s, chars, per_family) for s in run.scores],
        "curves": sorted((c for c in curves if c[2] or c[3]), key=lambda c: order.get(c[1], 2)),
        "costs": costs(run),
        "devices": list(dict.fromkeys(d for s in run.stages if (d := _text(s.manifest.get("device"))))),
        "funnels": [block for s in run.stages if (block := funnel_block(s))],
        "stages": [stage_block(s) for s in run.stages],
    }


def headline(run: Run) -> list[tuple[str, str]]:
    """(model, pass@1) of the first and the last model of the last eval stage, or nothing."""
    if not run.scores:
        return []
    models = run.scores[-1].models
    known = [(name, value) for name, m in models.items() if (value := number(m.get("pass@1"))) is not None]
    ends = known[:1] + known[-1:] if len(known) > 1 else known
    return [(name, f"{100 * value:.1f}%") for name, value in ends]


def facts(run: Run) -> list[tuple[str, str]]:
    """What a reader needs to trust the numbers: seed, commit, device, time, versions."""
    merged: Json = {}
    for stage in run.stages:
        merged.update({k: v for k, v in stage.manifest.items() if v not in (None, "", {}, [])})
    versions = mapping(merged.get("versions"))
    total = sum(s.wall_s or 0.0 for s in run.stages)
    commit, _, changes = _text(merged.get("git")).partition("+")
    ended = number(first(run.about, "finished", "started") or merged.get("finished"))
    rows = [
        ("seed", _text(first(run.about, "seed") if run.about else mapping(merged.get("pipeline")).get("seed"))),
        ("made", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ended)) if ended else ""),
        ("time in stages", duration(total) if total else ""),
        ("device", _text(merged.get("device"))),
        ("commit", commit[:12] + (" with changes" if changes else "")),
        ("changed by --set", " · ".join(_text(o) for o in run.about.get("overrides") or [])),
        ("versions", " · ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, value) for name, value in rows if value]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return " · ".join(f"{k} {_text(v)}" if not isinstance(v, bool) else f"{k}: {v}" for k, v in value.items())
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(value: object) -> str:
    """A share 0..1 in percent with one decimal."""
    known = number(value)
    return DASH if known is None else f"{100 * known:.1f}"


def interval(numbers: Json) -> tuple[float, float] | None:
    """The 95% interval, if it is there and finite."""
    pair = numbers.get("ci95")
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    low, high = number(pair[0]), number(pair[1])
    return None if low is None or high is None else (low, high)


def margin(numbers: Json) -> str:
    """Half the 95% interval in percentage points, or nothing."""
    pair = interval(numbers)
    return "" if pair is None else f"±{50 * (pair[1] - pair[0]):.1f}"


def best_at_k(numbers: Json) -> tuple[str, str]:
    """(k, pass@k in percent) for the largest k."""
    at = {int(k): v for k, v in mapping(numbers.get("pass@k")).items() if str(k).isdigit()}
    return (str(max(at)), percent(at[max(at)])) if at else ("k", DASH)


def finished(numbers: Json) -> str:
    """Share of completions that ended by themselves, in percent."""
    return percent(numbers.get("finished"))


def score_block(scores: ScoreSet, chars: int, per_family: int) -> ScoreBlock:
    """Bars and table of one eval stage."""
    families = scores.graded_families()
    measures = measured(scores.models, scores.protocol)
    slices = [("all problems", [_bar(name, m) for name, m in scores.models.items()])]
    if len(families) > 1:
        for family in families:
            by_model = {name: mapping(mapping(m.get("families")).get(family)) for name, m in scores.models.items()}
            slices.append((family, [_bar(name, m) for name, m in by_model.items()]))
    k = next((best_at_k(m)[0] for m in scores.models.values()), "k")
    columns = ["pass@1", *families, *(measure.title for measure in measures)]
    columns += [f"pass@{k}", f"cons@{k}", "tokens", "finished", "problems"]
    rows = []
    for name, m in scores.models.items():
        parts = [mapping(mapping(m.get("families")).get(family)) for family in families]
        cells = [f"{percent(p.get('pass@1'))} {margin(p)}".strip() for p in [m, *parts]]
        cells += [" ".join(measure.cell(m)).strip() for measure in measures]
        cells += [best_at_k(m)[1], percent(m.get("cons@k")), pretty(number(m.get("mean_tokens")))]
        rows.append((name, [*cells, finished(m), pretty(number(m.get("n_problems")))]))
    protocol = ", ".join(f"{key} {_text(value)}" for key, value in scores.protocol.items())
    lost = {name: int(n) for name, m in scores.models.items() if (n := number(m.get("ungraded")))}
    ungraded = ", ".join(f"{name} {n:,}" for name, n in lost.items())
    shown = transcripts(scores, per_family=per_family, chars=chars)
    graded = read_samples(scores, ["model", "id", "correct"])
    usable = bool(graded) and {"model", "id", "correct"} <= graded[0].keys()
    told = compare(graded, list(scores.models)) if usable else []
    written = [_manner(one) for one in manners(first_completions(scores, MOST), list(scores.models))]
    rewards = explained(scores.protocol.get("rewards"))
    return ScoreBlock(
        scores.stage, protocol, ungraded, slices, columns, rows, by_family(scores), told, written, rewards, shown
    )


def _manner(one: Manner) -> tuple[str, list[str]]:
    per_answer = f"{one.per_answer:.2f}"
    return one.model, [percent(one.thinks), percent(one.language), percent(one.reflective), per_answer, f"{one.read:,}"]


def explained(rewards: object) -> list[tuple[str, str, str]]:
    """(name, weight, the first two sentences of its docstring) of each reward; a plugin's words are not known here."""
    from rewards import registry

    found = []
    for name, given in mapping(rewards).items():
        weight = number(mapping(given).get("weight", 1.0) if isinstance(given, dict) else given)
        told = inspect.getdoc(registry.get(name).function) if name in registry.BUILT_IN else ""
        sentences = re.split(r"(?<=[.)])\s+(?=[A-Z])", " ".join((told or "").replace("`", "").split()))
        found.append((name, pretty(weight), " ".join(sentences[:2])))
    return found


def _bar(model: str, numbers: Json) -> Bar:
    value, pair = number(numbers.get("pass@1")), interval(numbers)
    low, high = (round(100 * min(max(v, 0.0), 1.0), 2) for v in pair) if pair else (None, None)
    scaled = None if value is None else round(100 * min(max(value, 0.0), 1.0), 2)
    return Bar(model, scaled, low, high, percent(value), margin(numbers))


def funnel_block(stage: StageRecord) -> FunnelBlock | None:
    """What the filters of a stage left of its problems, then of its completions; None when it filtered nothing."""
    funnel = stage.funnel or {}
    kept, drawn = number(funnel.get("problems")), number(funnel.get("input"))
    before, after = _filters(funnel.get("problem_filters")), _filters(funnel.get("filters"))
    lists = []
    if before and kept is not None:
        asked = kept + sum(dropped for _, dropped, _ in before)
        lists.append(_steps(("problems", asked), before, ("problems kept" if not drawn else "drawn for", kept)))
    if drawn:
        lists.append(_steps(("completions", drawn), after, ("kept", number(funnel.get("kept")))))
    if not lists:
        return None
    solved = number(funnel.get("problems_kept"))
    problems = f"{int(solved):,} of {int(kept):,} problems have a sample left" if kept and solved is not None else ""
    named = (("problems by pass rate", "pass_rates"), ("problems by samples kept", "kept_per_problem"))
    charts = [(title, _columns(mapping(funnel.get(key)))) for title, key in named]
    return FunnelBlock(stage.name, problems, lists, [(title, columns) for title, columns in charts if columns])


Filter = tuple[str, float, list[str]]


def _filters(listed: object) -> list[Filter]:
    """(name, dropped, examples) of each filter."""
    found = []
    for item in map(mapping, listed if isinstance(listed, list) else []):
        examples = item.get("examples")
        texts = [_text(e)[:600] for e in examples[:4]] if isinstance(examples, list) else []
        found.append((str(item.get("name")), number(item.get("dropped")) or 0.0, texts))
    return found


def _steps(first: tuple[str, float], filters: list[Filter], last: tuple[str, float | None]) -> list[Step]:
    """What is left after each filter, between what there was at first and at last."""
    left = first[1]
    steps: list[Step] = [(first[0], int(left), 100.0, 0, [])]
    for name, dropped, texts in filters:
        left = max(left - dropped, 0.0)
        steps.append((name, int(left), _share(left, first[1]), int(dropped), texts))
    if last[1] is not None:
        steps.append((last[0], int(last[1]), _share(last[1], first[1]), 0, []))
    return steps


def _share(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def _columns(counts: Json) -> list[tuple[str, int, float]]:
    known = [(str(name), int(n)) for name, value in counts.items() if (n := number(value)) is not None]
    most = max((n for _, n in known), default=0)
    return [(name, n, round(100 * n / most, 1)) for name, n in known] if most else []


def digests(stage: StageRecord) -> list[tuple[str, str]]:
    """(what, first 16 digits of its sha256) of what the stage read and made."""
    m = stage.manifest
    found = [
        (f"in {slot}{f' {pair[0]}' if pair[0] else ''}", pair[1])
        for slot, listed in mapping(m.get("inputs")).items()
        for pair in (listed if isinstance(listed, list) else [])
        if isinstance(pair, list | tuple) and len(pair) == 2
    ]
    found += [
        (f"file {name}", digest) for word in ("plugins", "files") for name, digest in mapping(m.get(word)).items()
    ]
    found += [(f"out {n}".strip(), mapping(o).get("digest")) for n, o in mapping(m.get("outputs")).items()]
    return [(what, str(digest)[:16]) for what, digest in found if digest]


def _failed(stage: StageRecord) -> bool:
    return any(word in stage.status for word in ("fail", "error", "missing", "interrupt", DAMAGED))


def stage_block(stage: StageRecord) -> StageBlock:
    """The stage's row: what it took, what it cost, what it said about itself."""
    numbers = mapping(stage.manifest.get("metrics"))
    return StageBlock(
        name=stage.name,
        kind=stage.kind,
        status="this page" if stage.kind == "report" and stage.status == "running" else stage.status,
        error=stage.error,
        failed=_failed(stage),
        wall=duration(stage.wall_s),
        key=stage.key[:12],
        seed=_text(stage.manifest.get("seed")),
        inputs=", ".join(f"{slot}: {source}" for slot, source in stage.inputs),
        config=[(key, _text(value)[:400]) for key, value in mapping(stage.manifest.get("config")).items()],
        digests=digests(stage),
        metrics=[(k, pretty(v) if (v := number(x)) is not None else _text(x)[:400]) for k, x in numbers.items()],
    )
