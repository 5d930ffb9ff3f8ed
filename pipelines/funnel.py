"""The funnel of a rejection-sampling stage: what each filter dropped, how hard the problems were, what each gave.

`funnel.json` holds {"problems", "problem_filters", "input", "filters", "kept", "problems_kept", "pass_rates",
"kept_per_problem"}: both lists of filters are [{"name", "dropped", "examples"}] in the order of application, those of
problems before anything is drawn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.curation import EXAMPLES, Row, pass_rates

TENTHS = 10
BAR = 24  # characters of the longest bar of `text`


def tally(rows: Sequence[Row], kept: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each problem that completions were drawn for: id, family, drawn, graded, right, pass_rate, kept."""
    rates = pass_rates(rows)
    drawn, left = Counter(str(row["id"]) for row in rows), Counter(str(row["id"]) for row in kept)
    graded = Counter(str(row["id"]) for row in rows if row["correct"] is not None)
    right = Counter(str(row["id"]) for row in rows if row["correct"])
    family = {str(row["id"]): row.get("family") for row in rows}
    return [
        {
            "id": id,
            "family": family[id],
            "drawn": drawn[id],
            "graded": graded[id],
            "right": right[id],
            "pass_rate": rate,
            "kept": left[id],
        }
        for id, rate in rates.items()
    ]


def total(
    parts: Iterable[Mapping[str, Any]], problems: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The funnel of all shards. `problems`: their tallies; `before`: filters of problems, before the draw."""
    steps: dict[str, dict[str, Any]] = {}
    drawn = kept = 0
    for part in parts:
        drawn, kept = drawn + part["input"], kept + part["kept"]
        for step in part["filters"]:
            sum_ = steps.setdefault(step["name"], {"name": step["name"], "dropped": 0, "examples": []})
            sum_["dropped"] += step["dropped"]
            sum_["examples"] = (sum_["examples"] + step["examples"])[:EXAMPLES]
    counts = Counter(problem["kept"] for problem in problems)
    return {
        "problems": len(problems),
        "problem_filters": list(before),
        "input": drawn,
        "filters": list(steps.values()),
        "kept": kept,
        "problems_kept": sum(problem["kept"] > 0 for problem in problems),
        "pass_rates": histogram([problem["pass_rate"] for problem in problems]),
        "kept_per_problem": {str(n): counts[n] for n in sorted(counts)},
    }


def histogram(rates: Sequence[float | None]) -> dict[str, int]:
    """Problems by pass rate: none right, tenths (lower bound excluded), all right; `unknown`: nothing was graded."""
    names = ["0", *(f"{i / TENTHS:g}-{(i + 1) / TENTHS:g}" for i in range(TENTHS)), "1"]
    found = Counter(
        "unknown"
        if rate is None
        else names[0 if rate == 0 else -1 if rate == 1 else math.ceil(round(rate * TENTHS, 9))]
        for rate in rates
    )
    return {name: found[name] for name in [*names, "unknown"] if name in names or found[name]}


def text(funnel: Mapping[str, Any], examples: int = 0) -> str:
    """The funnel for a terminal: filters with what is left after each, pass rates, yield; `examples` of each filter."""
    lines = [f"{'problems':<22} {funnel['problems'] + _dropped(funnel['problem_filters']):>8}"]
    lines += _steps(funnel["problem_filters"], funnel["problems"] + _dropped(funnel["problem_filters"]), examples)
    lines.append(f"{'completions drawn':<22} {funnel['input']:>8}")
    lines += _steps(funnel["filters"], funnel["input"], examples)
    share = funnel["kept"] / funnel["input"] if funnel["input"] else 0.0
    lines.append(f"{'kept':<22} {funnel['kept']:>8}  {share:.1%} of the completions")
    lines += ["", "pass rate   problems", *_bars(funnel["pass_rates"])]
    lines += ["", "kept        problems", *_bars(funnel["kept_per_problem"])]
    return "\n".join(lines)


def _dropped(steps: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(step["dropped"]) for step in steps)


def _steps(steps: Sequence[Mapping[str, Any]], left: int, examples: int) -> Iterable[str]:
    for step in steps:
        left -= step["dropped"]
        yield f"  {step['name']:<20} {-step['dropped'] or 0:>8}  {left} left"
        for example in step["examples"][:examples]:
            yield f"      e.g. {example.replace(chr(10), ' ')[:100]}"


def _bars(counts: Mapping[str, int]) -> Iterable[str]:
    most = max(counts.values(), default=0)
    for name, count in counts.items():
        yield f"{name:<11} {count:>8}  {'#' * (-(-BAR * count // most) if most else 0)}".rstrip()
