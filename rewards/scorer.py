"""The scorer: P x G samples in, P x G numbers out, whatever the rewards do on the way.

Three outcomes for each sample: a score, None (no reward applies), or an error. An error is ours or the sandbox's,
not the model's: it is counted, written to the quarantine file with its sample, and never a zero.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewards.registry import RewardError, get, load_plugins, parse_weights
from rewards.worker import number
from rewards.workers import Failure, WorkerPool
from rollout.types import Sample, Scored

FREE_ERRORS = 8  # a share of a small number of samples would stop the run at the first hiccup


class ErrorBudgetExceeded(RuntimeError):
    """Grading failed too often to go on training; the message shows the latest failures."""


class Scorer:
    """Grades groups of samples with weighted rewards in killable worker processes (`rollout.types.Scorer`).

    Args:
        weights: `{name: weight}` or `{name: {"weight": w, setting: value, ...}}`.
        plugins: files that define further rewards.
        workers: processes; default: one for each core, at most 8.
        timeout_s: CPU seconds of one reward on one sample (or group).
        wall_s: wall seconds of the same, for what waits without computing; default 10 x `timeout_s`.
        error_budget: share of all samples graded so far that may fail. Above 0, the first 8 failures are free;
            0 stops at the first.
        quarantine: JSON Lines file that takes every failed sample with its reward and reason.

    Raises:
        RewardError: an unknown reward, setting or plugin file (raised here, before any work).
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        plugins: Sequence[str | Path] = (),
        *,
        workers: int | None = None,
        timeout_s: float = 10.0,
        wall_s: float | None = None,
        error_budget: float = 0.01,
        quarantine: str | Path | None = None,
    ) -> None:
        load_plugins(plugins)
        parsed = parse_weights(weights)
        self._weights = {name: weight for name, (weight, _) in parsed.items()}
        self._groups = {name: get(name).group for name in parsed}
        self._error_budget = error_budget
        self._quarantine = Path(quarantine) if quarantine is not None else None
        self.graded = 0
        self.failed = 0
        settings = {name: chosen for name, (_, chosen) in parsed.items()}
        self._pool = WorkerPool(
            "rewards.scorer:make_grader",
            ([str(Path(path).expanduser().resolve()) for path in plugins], settings),
            workers=workers or min(8, len(os.sched_getaffinity(0))),
            timeout_s=timeout_s,
            wall_s=10 * timeout_s if wall_s is None else wall_s,
        )

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        """Grade P groups of samples; the result has the same shape.

        Raises:
            ErrorBudgetExceeded: more samples failed than the budget allows.
        """
        tasks: list[tuple[str, Any]] = []
        places: list[tuple[str, int, int | None]] = []
        for p, samples_G in enumerate(samples_P_G):
            for name, group in self._groups.items():
                if group and samples_G:
                    tasks.append((name, list(samples_G)))
                    places.append((name, p, None))
            for position, sample in enumerate(samples_G):
                for name, group in self._groups.items():
                    if not group:
                        tasks.append((name, sample))
                        places.append((name, p, position))
        parts: dict[str, list[list[float | None]]] = {
            name: [[None] * len(samples_G) for samples_G in samples_P_G] for name in self._weights
        }
        self.graded += sum(len(samples_G) for samples_G in samples_P_G)
        failed: set[tuple[int, int]] = set()
        with closing(self._pool.run(tasks)) as outcomes:
            for index, outcome in outcomes:
                name, p, g = places[index]
                if isinstance(outcome, Failure):
                    hit = range(len(samples_P_G[p])) if g is None else range(g, g + 1)
                    self._record(name, outcome, p, [i for i in hit if (p, i) not in failed], samples_P_G)
                    failed.update((p, i) for i in hit)
                elif g is None:
                    parts[name][p] = outcome
                else:
                    parts[name][p][g] = outcome
        totals = [
            [None if (p, g) in failed else self._total(parts, p, g) for g in range(len(samples_G))]
            for p, samples_G in enumerate(samples_P_G)
        ]
        return Scored(totals, parts, errors=len(failed))

    def _total(self, parts: Mapping[str, list[list[float | None]]], p: int, g: int) -> float | None:
        applying = [(weight, parts[name][p][g]) for name, weight in self._weights.items()]
        terms = [weight * value for weight, value in applying if value is not None]
        return sum(terms) if terms else None

    def _record(
        self, name: str, failure: Failure, p: int, hit: Sequence[int], samples_P_G: Sequence[Sequence[Sample]]
    ) -> None:
        if self._quarantine is not None:
            self._quarantine.parent.mkdir(parents=True, exist_ok=True)
            with self._quarantine.open("a", encoding="utf-8") as file:
                for g in hit:
                    sample = samples_P_G[p][g]
                    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
                    values["row"] = dict(sample.row)
                    line = {"reward": name, "kind": failure.kind, "what": failure.what, "sample": values}
                    file.write(json.dumps(line, default=str) + "\n")
        self.failed += len(hit)
        free = FREE_ERRORS if self._error_budget > 0 else 0
        if self.failed > max(free, self._error_budget * self.graded):
            where = f" The samples are in {self._quarantine}." if self._quarantine is not None else ""
            raise ErrorBudgetExceeded(
                f"grading failed on {self.failed} of {self.graded} samples, the budget is {self._error_budget:.1%}. "
                f"Latest: reward {name!r}: {failure.what}.{where}"
            )

    def close(self) -> None:
        """Stop the workers. Idempotent."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_grader(plugins: Iterable[str], settings: Mapping[str, Mapping[str, Any]]) -> Callable[[tuple[str, Any]], Any]:
    """In a worker: load the rewards once and return the function that grades `(name, sample or group)`."""
    load_plugins(plugins)
    rewards = {name: get(name) for name in settings}

    def grade(task: tuple[str, Any]) -> float | list[float | None] | None:
        name, content = task
        reward = rewards[name]
        value = reward.function(content, **settings[name])
        if not reward.group:
            return number(value)
        if not isinstance(value, Sequence) or len(value) != len(content):
            raise RewardError(f"a group reward returns one score for each of the {len(content)} samples")
        return [number(one) for one in value]

    return grade
