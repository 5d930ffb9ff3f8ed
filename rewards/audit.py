"""`r1 rewards audit`: how often is a reward wrong, on cases whose right verdict is known?

A cases file is JSON Lines. `expected` is true or false ("pass" or "fail"); `kind`, `group` and `contested` are
optional. What else a case holds is up to the reward: a package `rewards.NAME` brings `rewards/NAME/audit.py` with

    NEEDS                           names of fields, each a tuple of which a case must have one
    judge(case) -> bool | None      the verdict; raises where the grader itself failed
    shown(case) -> str              one line that lets a person find the case
    kind(case) -> str               the row of the table it counts in

Every other reward is called on a `Sample` with the case's `prompt`, `completion`, `answer`, `row`, and a score of
0.5 or more counts as accepted. `case["settings"]` holds the reward's settings.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.registry import RewardError, get, load_plugins
from rewards.scorer import patience
from rewards.worker import number
from rewards.workers import Failure, WorkerPool
from rollout.types import Sample

EXPECTED: dict[bool | str, bool] = {"pass": True, "fail": False, True: True, False: False}


@dataclass(frozen=True, slots=True)
class Judged:
    """One case after grading. `verdict` None: the reward did not apply, or (with `error`) the grader failed."""

    kind: str
    group: str
    expected: bool
    verdict: bool | None
    contested: bool
    seconds: float
    shown: str
    error: str | None = None

    @property
    def right(self) -> bool:
        return self.verdict is self.expected


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The cases of a file, each with `expected` as a bool.

    Raises:
        RewardError: one line for the first thing wrong, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RewardError(f"{path}: cannot be read: {what}") from error
    cases = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            case = json.loads(content)
        except json.JSONDecodeError as error:
            raise RewardError(f"{path}:{line}: not JSON: {error}") from error
        expected = case.get("expected") if isinstance(case, dict) else None
        if not isinstance(expected, (bool, str)) or expected not in EXPECTED:
            raise RewardError(f"{path}:{line}: a case is an object whose `expected` is true or false")
        cases.append(case | {"expected": EXPECTED[expected]})
    if not cases:
        raise RewardError(f"{path}: holds no case")
    return cases


def audit(
    name: str,
    cases: Sequence[Mapping[str, Any]],
    plugins: Sequence[str | Path] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    timeout_s: float = 10.0,
) -> list[Judged]:
    """Grade every case with one reward, in a killable worker process; the results are in the order of the cases.

    settings: those of the reward, checked; each case takes them along as `settings`.

    Raises:
        RewardError: an unknown reward, a wrong setting, a plugin that does not load, or a case without a field.
    """
    load_plugins(plugins)
    chosen = get(name).configure(settings or {})
    adapter = _adapter(name)
    _check_fields(cases, adapter.NEEDS)
    cases = [{**case, "settings": chosen} for case in cases]
    paths = [str(Path(path).expanduser().resolve()) for path in plugins]
    outcomes: list[Any] = [None] * len(cases)
    wall_s = patience({name: chosen}, 10 * timeout_s)
    pool = WorkerPool("rewards.audit:make_judge", (name, paths), timeout_s=timeout_s, wall_s=wall_s)
    with pool, closing(pool.run(cases)) as running:
        for index, outcome in running:
            outcomes[index] = outcome
    return [_judged(case, outcome, adapter) for case, outcome in zip(cases, outcomes, strict=True)]


def _check_fields(cases: Sequence[Mapping[str, Any]], needs: Sequence[Sequence[str]]) -> None:
    for place, case in enumerate(cases, start=1):
        for names in needs:
            if not any(name in case for name in names):
                raise RewardError(f"case {place}: needs `{'` or `'.join(names)}` (it has {', '.join(case)})")


def _judged(case: Mapping[str, Any], outcome: Any, adapter: Any) -> Judged:
    failed = isinstance(outcome, Failure)
    verdict, seconds = (None, 0.0) if failed else outcome
    return Judged(
        kind=str(adapter.kind(case)),
        group=str(case.get("group") or ""),
        expected=case["expected"],
        verdict=verdict,
        contested=bool(case.get("contested")),
        seconds=seconds,
        shown=" ".join(adapter.shown(case).split())[:300],
        error=outcome.what if failed else None,
    )


class _AnyReward:
    """The adapter of a reward that brings none."""

    NEEDS = (("completion",),)

    def __init__(self, name: str) -> None:
        self.reward = get(name)
        if self.reward.group:
            raise RewardError(f"reward {name!r} compares samples of a group; an audit judges one case at a time")

    def judge(self, case: Mapping[str, Any]) -> bool | None:
        fields = {key: case[key] for key in ("answer", "finish", "n_tokens", "row") if key in case}
        sample = Sample(str(case.get("prompt", "")), str(case["completion"]), **fields)
        score = number(self.reward.function(sample, **case["settings"]))
        return None if score is None else score >= 0.5

    def shown(self, case: Mapping[str, Any]) -> str:
        return f"answer {case.get('answer')!r}, completion {str(case.get('completion'))[-120:]!r}"

    def kind(self, case: Mapping[str, Any]) -> str:
        return str(case.get("kind") or "all")


def _adapter(name: str) -> Any:
    get(name)  # an unknown name is reported with a suggestion
    package = importlib.util.find_spec(f"rewards.{name}")
    if package is None or not package.submodule_search_locations:
        return _AnyReward(name)
    return importlib.import_module(f"rewards.{name}.audit")


def make_judge(name: str, plugins: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[bool | None, float]]:
    """In a worker: the function that judges one case and times it."""
    load_plugins(plugins)
    adapter = _adapter(name)

    def judge(case: Mapping[str, Any]) -> tuple[bool | None, float]:
        started = time.perf_counter()
        verdict = adapter.judge(case)
        return verdict, time.perf_counter() - started

    return judge


def table(judged: Sequence[Judged], *, failures: int = 50) -> list[str]:
    """The audit as lines of text: the totals, errors by group and kind, contested cases, latency, what failed."""
    clear = [one for one in judged if not one.contested]
    lines = [_totals("uncontested", clear)] if clear else []
    contested = [one for one in judged if one.contested]
    if contested:
        agree = sum(one.right for one in contested)
        lines.append(f"contested: {len(contested)} cases, {agree} agree with the label")
    for title in ("group", "kind"):
        rows = _errors(clear, title)
        if len(rows) > 1:
            lines += ["", *_columns([(title, "cases", "right", "false neg.", "false pos.", "no verdict"), *rows])]
    latency = sorted(one.seconds * 1000 for one in judged if one.error is None)
    if latency:
        marks = ", ".join(f"p{q} {latency[min(len(latency) - 1, len(latency) * q // 100)]:.3g}" for q in (50, 90, 99))
        lines += ["", f"latency in ms: {marks}, max {latency[-1]:.3g}; {len(latency) / sum(latency) * 1000:,.0f}/s"]
    wrong = [one for one in clear if not one.right]
    lines += ["", *(_failure(one) for one in wrong[:failures])] if wrong else []
    if len(wrong) > failures:
        lines.append(f"... and {len(wrong) - failures} more")
    return lines


def accuracy(judged: Sequence[Judged]) -> float:
    """Share of the uncontested cases that are right; 1 without any."""
    clear = [one.right for one in judged if not one.contested]
    return sum(clear) / len(clear) if clear else 1.0


def _counts(some: Sequence[Judged]) -> tuple[int, int, int, int]:
    negative = sum(one.expected and one.verdict is False for one in some)
    positive = sum(not one.expected and one.verdict is True for one in some)
    return len(some), sum(one.right for one in some), negative, positive


def _totals(title: str, some: Sequence[Judged]) -> str:
    total, right, negative, positive = _counts(some)
    should, should_not = sum(one.expected for one in some), sum(not one.expected for one in some)
    return (
        f"{title}: {total} cases, {right / total:.2%} right; false negatives {negative} of {should} "
        f"({negative / max(1, should):.2%}), false positives {positive} of {should_not} "
        f"({positive / max(1, should_not):.2%}), no verdict {sum(one.verdict is None for one in some)}"
    )


def _errors(some: Sequence[Judged], field: str) -> list[tuple[str, ...]]:
    rows = []
    for value in sorted({getattr(one, field) for one in some}):
        mine = [one for one in some if getattr(one, field) == value]
        unknown = sum(one.verdict is None for one in mine)
        rows.append((value or "-", *map(str, _counts(mine)), str(unknown)))
    return rows


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _failure(one: Judged) -> str:
    what = "error" if one.error else "no verdict" if one.verdict is None else "FN" if one.expected else "FP"
    return f"{what} {one.kind}: {one.shown}" + (f" [{one.error}]" if one.error else "")
