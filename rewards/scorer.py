"""The scorer: P x G samples in, P x G numbers out, whatever the rewards do on the way.

Three outcomes for each sample: a score, None (no reward applies), or an error. An error is ours or the sandbox's,
not the model's: it is counted, written to the quarantine file with its sample, and never a zero.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewards import scratch
from rewards.incoming import Incoming
from rewards.registry import RewardError, get, load_plugins, parse_weights
from rewards.worker import error_text, number
from rewards.workers import Failure, WorkerPool
from rollout.types import Sample, Scored

FREE_ERRORS = 8  # a share of a small number of samples would stop the run at the first hiccup
_PENDING = object()
SPARE_S = 10.0  # a reward that ends by itself at its `wall_s` can say more than one that is killed


class ErrorBudgetExceeded(RuntimeError):
    """Grading failed too often to go on training; the message shows the latest failures."""


class Scorer:
    """Grades groups of samples with weighted rewards in killable worker processes (`rollout.types.Scorer`).

    Args:
        weights: `{name: weight}` or `{name: {"weight": w, setting: value, ...}}`.
        plugins: files that define further rewards.
        workers: processes; default: one for each core, at most 8.
        timeout_s: CPU seconds of one reward on one sample (or group).
        wall_s: wall seconds of the same, for what waits without computing; default 10 x `timeout_s`. A reward with a
            setting `wall_s` gets that long, and some seconds to tell of it.
        error_budget: share of all samples graded so far that may fail. Above 0, the first 8 failures are free;
            0 stops at the first.
        quarantine: JSON Lines file that takes every failed sample with its reward and reason.
        scratch: folder for what rewards keep between calls (`rewards.scratch`); give one that survives a kill.

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
        scratch: str | Path | None = None,
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
            ([str(Path(path).expanduser().resolve()) for path in plugins], settings, scratch and str(scratch)),
            workers=workers or min(8, len(os.sched_getaffinity(0))),
            timeout_s=timeout_s,
            wall_s=patience(settings, 10 * timeout_s if wall_s is None else wall_s),
        )

    def __call__(self, samples_P_G: Sequence[Sequence[Sample]]) -> Scored:
        """Grade P groups of samples; the result has the same shape.

        Raises:
            ErrorBudgetExceeded: more samples failed than the budget allows.
        """
        with self.begin([len(samples_G) for samples_G in samples_P_G]) as grading:
            for p, samples_G in enumerate(samples_P_G):
                grading.add(*((p, g, sample) for g, sample in enumerate(samples_G)))
            return grading.result()

    def begin(self, sizes_P: Sequence[int]) -> Grading:
        """Grade P groups of so many samples while they are being drawn; see `Grading`."""
        self.graded += sum(sizes_P)
        return Grading(sizes_P, self._weights, self._groups, self._pool, self._record)

    def _record(self, name: str, failure: Failure, sample: Sample) -> None:
        if self._quarantine is not None:
            self._quarantine.parent.mkdir(parents=True, exist_ok=True)
            values = {field.name: getattr(sample, field.name) for field in fields(sample)}
            values["row"] = dict(sample.row)
            line = {"reward": name, "kind": failure.kind, "what": failure.what, "sample": values}
            with self._quarantine.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=str) + "\n")
        self.failed += 1
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


@dataclass
class _Task:
    """One grade that a worker gives: to a sample and all that equal it in their group, or to a whole group."""

    name: str
    p: int
    places: list[tuple[int, Sample]]  # where in the group
    outcome: Any = _PENDING


class Grading:
    """P groups of samples that are graded as they come, in a thread beside the one that adds them; a context manager.

    A sample that is added again, at the same place, takes the place of the earlier one. Equal samples of a group are
    graded once.
    """

    def __init__(
        self,
        sizes_P: Sequence[int],
        weights: Mapping[str, float],
        groups: Mapping[str, bool],
        pool: WorkerPool,
        record: Callable[[str, Failure, Sample], None],
    ) -> None:
        self._weights, self._groups, self._pool, self._record = weights, groups, pool, record
        self._samples_P_G: list[list[Sample | None]] = [[None] * size for size in sizes_P]
        self._parts: dict[str, list[list[float | None]]] = {
            name: [[None] * size for size in sizes_P] for name in weights
        }
        self._incoming = Incoming()
        self._tasks: list[_Task] = []
        self._first: dict[tuple[Any, ...], _Task] = {}  # by reward, group and what the sample is
        self._failed: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._work = self._thread.submit(self._grade)

    def add(self, *samples: tuple[int, int, Sample]) -> None:
        """`(p, g, sample)`: sample g of group p. Raises what `result` would, if that is certain already."""
        if self._work.done():
            self._work.result()
        new: list[_Task] = []
        with self._lock:
            for p, g, sample in samples:
                self._samples_P_G[p][g] = sample
                self._failed.discard((p, g))
                new += [task for name, group in self._groups.items() if not group and (task := self._one(name, p, g))]
            for p in dict.fromkeys(p for p, _, _ in samples):
                whole = [(g, sample) for g, sample in enumerate(self._samples_P_G[p]) if sample is not None]
                if len(whole) == len(self._samples_P_G[p]):
                    new += [_Task(name, p, whole) for name, group in self._groups.items() if group]
            self._tasks += new
            self._incoming.add(*((task.name, self._content(task)) for task in new))

    def _one(self, name: str, p: int, g: int) -> _Task | None:
        """The task that grades a sample; None where that of an equal one does."""
        sample = self._samples_P_G[p][g]
        assert sample is not None
        said = (sample.prompt, sample.completion, sample.answer, sample.finish, sample.n_tokens)
        first = self._first.get(key := (name, p, id(sample.row), *said))  # a row may hold what cannot be compared
        if first is None:
            self._first[key] = task = _Task(name, p, [(g, sample)])
            return task
        first.places.append((g, sample))
        if first.outcome is not _PENDING:
            self._take(name, p, g, sample, first.outcome)
        return None

    def _content(self, task: _Task) -> Sample | list[Sample]:
        return [sample for _, sample in task.places] if self._groups[task.name] else task.places[0][1]

    def result(self) -> Scored:
        """The scores, once all are graded. ErrorBudgetExceeded: more samples failed than the budget allows."""
        assert all(sample is not None for samples_G in self._samples_P_G for sample in samples_G), "samples are missing"
        self._incoming.end()
        self._work.result()
        totals = [
            [None if (p, g) in self._failed else self._total(p, g) for g in range(len(samples_G))]
            for p, samples_G in enumerate(self._samples_P_G)
        ]
        return Scored(totals, self._parts, errors=len(self._failed))

    def _grade(self) -> None:
        with closing(self._pool.run(self._incoming)) as outcomes:
            for index, outcome in outcomes:
                with self._lock:
                    task = self._tasks[index]
                    task.outcome = outcome
                    if isinstance(outcome, Failure) or not self._groups[task.name]:
                        outcome = [outcome] * len(task.places)
                    for (g, sample), value in zip(task.places, outcome, strict=True):
                        if self._samples_P_G[task.p][g] is sample:  # and no other has taken its place
                            self._take(task.name, task.p, g, sample, value)

    def _take(self, name: str, p: int, g: int, sample: Sample, value: Any) -> None:
        if isinstance(value, str):  # a group's reward that failed on this sample alone
            value = Failure("raised", value)
        if not isinstance(value, Failure):
            self._parts[name][p][g] = value
        elif (p, g) not in self._failed:
            self._failed.add((p, g))
            self._record(name, value, sample)

    def _total(self, p: int, g: int) -> float | None:
        applying = [(weight, self._parts[name][p][g]) for name, weight in self._weights.items()]
        terms = [weight * value for weight, value in applying if value is not None]
        return sum(terms) if terms else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What has not been graded is given up."""
        self._incoming.stop()
        self._thread.shutdown(wait=True)


def patience(settings: Mapping[str, Mapping[str, Any]], otherwise: float) -> float:
    """Wall seconds of one task: `otherwise`, or longer where a reward says so by its setting `wall_s`."""
    asked = (chosen.get("wall_s", get(name).default("wall_s")) for name, chosen in settings.items())
    return max([otherwise, *(float(seconds) + SPARE_S for seconds in asked if seconds is not None)])


def make_grader(
    plugins: Iterable[str], settings: Mapping[str, Mapping[str, Any]], folder: str | None = None
) -> Callable[[tuple[str, Any]], Any]:
    """In a worker: load the rewards once and return the function that grades `(name, sample or group)`.

    Its value is a number or None; for a group a list of them, with a text in place of one that failed.
    """
    scratch.use(folder)
    load_plugins(plugins)
    rewards = {name: get(name) for name in settings}

    def grade(task: tuple[str, Any]) -> float | list[float | str | None] | None:
        name, content = task
        reward = rewards[name]
        value = reward.function(content, **settings[name])
        if not reward.group:
            return number(value)
        if not isinstance(value, Sequence) or len(value) != len(content):
            raise RewardError(f"a group reward returns one score for each of the {len(content)} samples")
        return [error_text(one) if isinstance(one, Exception) else number(one) for one in value]

    return grade
