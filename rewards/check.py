"""`r1 rewards list` and `r1 rewards check`: what rewards there are, and whether each does what its cases say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.registry import Case, Label, get, load_plugins, names
from rewards.worker import number
from rewards.workers import Failure, WorkerPool


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One line of `r1 rewards list`. `knobs` shows settings as `name: type = default`."""

    name: str
    summary: str
    knobs: str
    cases: int
    group: bool
    source: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The score of one case (None: did not apply) or the error that kept it from being scored."""

    label: Label
    text: str
    score: float | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The verdict on one reward: `problems` is empty if every gold scores above every junk and nothing failed.

    `caveat`: what the cases cannot show.
    """

    name: str
    cases: list[CaseResult]
    problems: list[str]
    caveat: str = ""

    @property
    def ok(self) -> bool:
        return not self.problems


def list_rewards(plugins: Sequence[str | Path] = ()) -> list[RewardRow]:
    """All rewards with their settings; built-ins first."""
    load_plugins(plugins)
    rows: list[RewardRow] = []
    for name in names():
        reward = get(name)
        knobs = ", ".join(
            f"{knob.name}: {_type_name(knob.type)}" + ("" if knob.required else f" = {knob.default!r}")
            for knob in reward.knobs.values()
        )
        rows.append(RewardRow(name, reward.summary, knobs, len(reward.cases), reward.group, reward.source))
    return rows


def check_rewards(
    chosen: Sequence[str] | None = None, plugins: Sequence[str | Path] = (), *, timeout_s: float = 10.0
) -> list[CheckResult]:
    """Run rewards (default: all) on their gold and junk cases, in a worker process with a time limit for each case.

    Raises:
        RewardError: an unknown name or a plugin that does not load.
    """
    load_plugins(plugins)
    checked = list(chosen) if chosen is not None else names()
    tasks = [(name, index) for name in checked for index in range(len(get(name).cases))]
    paths = [str(Path(path).expanduser().resolve()) for path in plugins]
    outcomes: dict[tuple[str, int], Any] = {}
    pool = WorkerPool("rewards.check:make_checker", (paths,), timeout_s=timeout_s, wall_s=10 * timeout_s)
    with pool, closing(pool.run(tasks)) as running:
        for index, outcome in running:
            outcomes[tasks[index]] = outcome
    results = []
    for name in checked:
        cases = [_result(case, outcomes[name, index]) for index, case in enumerate(get(name).cases)]
        results.append(CheckResult(name, cases, _problems(cases), get(name).caveat))
    return results


def _result(case: Case, outcome: Any) -> CaseResult:
    text = case.samples[0].completion
    if isinstance(outcome, Failure):
        return CaseResult(case.label, text, None, outcome.what)
    return CaseResult(case.label, text, outcome)


def _problems(cases: list[CaseResult]) -> list[str]:
    problems = [f"{case.label} case {case.text[:60]!r}: {case.error}" for case in cases if case.error is not None]
    scored = [case for case in cases if case.error is None]
    for case in scored:
        if case.label == "none" and case.score is not None:
            problems.append(f"none case {case.text[:60]!r} was scored {case.score:g}, it should not apply")
        if case.label != "none" and case.score is None:
            problems.append(f"{case.label} case {case.text[:60]!r} was not scored: the reward returned None")
    gold = [case for case in scored if case.label == "gold" and case.score is not None]
    junk = [case for case in scored if case.label == "junk" and case.score is not None]
    labels = {case.label for case in cases}
    problems += [
        f"no {label} case: add one, nothing is known about this reward without"
        for label in ("gold", "junk")
        if label not in labels
    ]
    if gold and junk:
        worst, best = min(gold, key=_score), max(junk, key=_score)
        if _score(worst) <= _score(best):
            problems.append(
                f"gold {worst.text[:60]!r} scores {_score(worst):g}, "
                f"not above junk {best.text[:60]!r} with {_score(best):g}"
            )
    return problems


def _score(case: CaseResult) -> float:
    assert case.score is not None
    return case.score


def _type_name(declared: Any) -> str:
    return declared.__name__ if isinstance(declared, type) else str(declared).replace("typing.", "")


def make_checker(plugins: Iterable[str]) -> Callable[[tuple[str, int]], float | None]:
    """In a worker: the function that scores case `index` of reward `name`."""
    load_plugins(plugins)

    def score(task: tuple[str, int]) -> float | None:
        name, index = task
        reward = get(name)
        case = reward.cases[index]
        knobs = reward.configure(case.knobs)
        if not reward.group:
            return number(reward.function(case.samples[0], **knobs))
        scores = reward.function(list(case.samples), **knobs)
        if len(scores) != len(case.samples):
            raise ValueError(f"a group reward returned {len(scores)} scores for {len(case.samples)} samples")
        if isinstance(scores[0], Exception):
            raise scores[0]
        return number(scores[0])

    return score
