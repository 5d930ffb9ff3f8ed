"""`r1 why`: what a run's numbers say about why it did not get better, in plain words, with what to try.

Every finding is a rule over what the stages left behind (metrics, funnels, scores, errors); nothing is sampled again.
The thresholds are rules of thumb of this project, not published ones; each finding shows its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report_data import DAMAGED, Run, StageRecord, load_run, mapping, number

FEW_STEPS = 5  # below this a curve says nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong where, the numbers that show it, and what to try."""

    stage: str
    what: str
    numbers: str
    advice: str

    def text(self) -> str:
        return f"{self.stage}: {self.what}\n    seen: {self.numbers}\n    try:  {self.advice}"


class Curve:
    """The values of one metric over a stage's steps; `first` and `last` are means over a tenth of them."""

    def __init__(self, record: StageRecord, name: str) -> None:
        found = [number(row.get(name)) for row in record.rows]
        self.values = [value for value in found if value is not None]
        self.broken = any(name in row and number(row[name]) is None for row in record.rows)
        self._tenth = max(1, len(self.values) // 10)

    def __bool__(self) -> bool:
        return len(self.values) > 0

    @property
    def first(self) -> float:
        return sum(self.values[: self._tenth]) / self._tenth

    @property
    def last(self) -> float:
        return sum(self.values[-self._tenth :]) / self._tenth

    def __str__(self) -> str:
        return f"{self.first:.3g} -> {self.last:.3g}" if self else "not logged"


def findings(folder: Path) -> list[Finding]:
    """What stands out in a run, in the order of its stages.

    Raises:
        FileNotFoundError: the folder is no run.
    """
    run = load_run(folder)
    found: list[Finding] = []
    for record in run.stages:
        found += _ending(record)
        rules = {"grpo": _grpo, "sft": _sft, "sample": _sample, "cold-start": _sample, "eval": _eval}.get(record.kind)
        if rules is not None:
            found += rules(record, run)
    return found


def _ending(record: StageRecord) -> Iterator[Finding]:
    if record.status == "failed":
        yield Finding(
            record.name, "failed", record.error or "no message", "mend that; the same command goes on from there"
        )
    if record.status == DAMAGED:
        yield Finding(
            record.name,
            "not what was written: its numbers are left out here",
            record.error,
            "r1 store verify --fix removes it, r1 run makes it again",
        )
    if record.status in ("running", "interrupted"):
        told = "was interrupted" if record.status == "interrupted" else "is running, or its process was killed"
        yield Finding(
            record.name,
            "has not ended",
            f"it {told}",
            "what is below is of an unfinished stage; the same r1 run goes on",
        )
    if record.status == "stopped":
        yield Finding(
            record.name,
            "its `needs` were not met",
            record.error,
            "improve what leads to it, or lower the bar on purpose",
        )


def _grpo(record: StageRecord, run: Run) -> Iterator[Finding]:
    config = mapping(record.manifest.get("config"))
    loss, gradient = Curve(record, "loss"), Curve(record, "grad_norm")
    if loss.broken or gradient.broken:
        yield Finding(
            record.name, "the loss or the gradient is not a number", f"loss {loss}", "lower lr; check precision"
        )
    accuracy, spread = Curve(record, "accuracy"), Curve(record, "zero_variance")
    if len(accuracy.values) >= FEW_STEPS:
        yield from _reward(record, config, accuracy, spread)
    yield from _heldout(record, config)
    yield from _samples(record, config)
    yield from _engine(record, config)


def _reward(record: StageRecord, config: dict[str, Any], accuracy: Curve, spread: Curve) -> Iterator[Finding]:
    shape, length = Curve(record, "part/format"), Curve(record, "length")
    if accuracy.first < 0.02 and accuracy.last < 0.02:
        collapsed = shape and shape.last > 0.9 and length and length.last < 0.8 * length.first
        yield Finding(
            record.name,
            "the policy learnt the format and stopped trying"
            if collapsed
            else "almost no answer is right, so nothing is reinforced",
            f"accuracy {accuracy}, format {shape}, length {length}",
            "easier problems or a longer cold start first; check transcripts against the grader (r1 rewards audit)",
        )
    elif accuracy.last < accuracy.first - 0.05:
        yield Finding(
            record.name,
            "accuracy fell",
            f"accuracy {accuracy}, KL {Curve(record, 'kl')}, length {length}",
            "a lower lr, a larger group, or a larger beta; look for a reward that pays for something else",
        )
    elif accuracy.last < accuracy.first + 0.02 and accuracy.last < 0.95 and len(accuracy.values) >= 20:
        yield Finding(
            record.name,
            "accuracy did not move",
            f"accuracy {accuracy} in {len(accuracy.values)} steps, lr {config.get('lr')}, zero variance {spread}",
            "a higher lr (tiny models want 1e-4 and more); problems that the model solves sometimes but not always",
        )
    if spread and spread.last > 0.7:
        easy = accuracy.last > 0.5
        yield Finding(
            record.name,
            f"most groups teach nothing: all their samples are {'right' if easy else 'wrong'}",
            f"zero-variance groups {spread}, accuracy {accuracy}",
            "harder problems" if easy else "easier problems, a larger group, or a partial reward",
        )
    if shape and shape.last < 0.5:
        yield Finding(
            record.name,
            "most answers are not in the form that rewards read",
            f"format {shape}",
            "a cold start in that form; or rewards: {math: {weight: 1.0, stated: true}} to take unmarked answers",
        )


def _heldout(record: StageRecord, config: dict[str, Any]) -> Iterator[Finding]:
    score = Curve(record, "heldout/score")
    if score and score.values[-1] < max(score.values) - 0.05 and config.get("hand_on") != "best":
        yield Finding(
            record.name,
            "the model was better on held-out problems before, and its last weights are handed on",
            f"held-out score {max(score.values):.3g}, at the end {score.values[-1]:.3g}",
            "hand_on: best, and patience to stop there",
        )


def _samples(record: StageRecord, config: dict[str, Any]) -> Iterator[Finding]:
    finished, errors = Curve(record, "finished"), Curve(record, "grading_errors")
    unscored, entropy = Curve(record, "unscored"), Curve(record, "entropy")
    if finished and finished.last < 0.8:
        yield Finding(
            record.name,
            "many answers are cut off before they end",
            f"finished {finished} at max_tokens {config.get('max_tokens')}, length {Curve(record, 'length')}",
            "raise max_tokens; or mask_truncated, and a length reward that falls before the cut",
        )
    if errors and max(errors.values) > 0:
        yield Finding(
            record.name,
            "the graders failed on some samples (these got no reward, not a zero)",
            f"up to {max(errors.values):.3g} in a step",
            "read the quarantine file; r1 rewards check; r1 doctor for the sandbox",
        )
    if unscored and unscored.last > 0.5:
        yield Finding(
            record.name,
            "no reward applies to most samples",
            f"unscored {unscored}",
            "rows without `answer` and `tests` need a reward of their own, or another problem set",
        )
    if len(entropy.values) >= FEW_STEPS and entropy.last < 0.1 * entropy.first:
        yield Finding(
            record.name,
            "the policy became nearly deterministic: its samples no longer differ",
            f"entropy {entropy}",
            "a lower lr, epsilon_high (clip-higher), or an entropy_coef",
        )


def _engine(record: StageRecord, config: dict[str, Any]) -> Iterator[Finding]:
    gap, kl = Curve(record, "canary_gap/max"), Curve(record, "kl")
    if gap and max(gap.values) > 0.01:
        yield Finding(
            record.name,
            "trainer and rollout engine disagree",
            f"largest log-probability gap {max(gap.values):.3g} nats",
            "the same precision on both sides (engine_dtype), or a correction (correction: token_truncate)",
        )
    if kl and kl.last > 1.0:
        yield Finding(
            record.name,
            "the policy has gone far from its reference",
            f"KL {kl} nats per token, beta {config.get('beta')}",
            "a larger beta or a lower lr; a shorter ref_every if moving is wanted",
        )
    load = Curve(record, "router/max_vio")
    if load and load.last > 2.0 and load.last > 1.5 * load.first:
        yield Finding(
            record.name,
            "the experts' load is drifting apart",
            f"MaxVio {load}",
            "router: bias_update(1e-4) (with the engine in sync), or aux(1e-4)",
        )


def _sft(record: StageRecord, run: Run) -> Iterator[Finding]:
    loss = Curve(record, "loss")
    if loss.broken:
        yield Finding(record.name, "the loss is not a number", f"loss {loss}", "lower lr; check precision")
    elif len(loss.values) >= FEW_STEPS and loss.last > 0.95 * loss.first:
        yield Finding(
            record.name,
            "the loss hardly fell",
            f"loss {loss} in {len(loss.values)} steps",
            "a higher lr, more epochs, or smaller batches (more steps)",
        )


def _sample(record: StageRecord, run: Run) -> Iterator[Finding]:
    funnel = record.funnel or {}
    drawn, kept = number(funnel.get("input")), number(funnel.get("kept"))
    if drawn and kept is not None and kept < 0.1 * drawn:
        steps = [mapping(step) for step in funnel.get("filters", [])]
        worst = max(steps, key=lambda step: number(step.get("dropped")) or 0.0, default={})
        yield Finding(
            record.name,
            "rejection sampling kept little",
            f"{kept:.0f} of {drawn:.0f}; {worst.get('dropped')} fell to {worst.get('name')!r}",
            "look at the examples of that filter in the report; a better model, or another threshold",
        )


def _eval(record: StageRecord, run: Run) -> Iterator[Finding]:
    for scores in run.scores:
        if scores.stage != record.name:
            continue
        for model, numbers in scores.models.items():
            finished, ungraded = number(numbers.get("finished")), number(numbers.get("ungraded")) or 0
            samples = (number(numbers.get("n_problems")) or 0) * (number(numbers.get("k")) or 1)
            if finished is not None and finished < 0.8:
                yield Finding(
                    record.name,
                    f"answers of {model} are cut off",
                    f"finished {finished:.2f}",
                    "raise max_tokens of the evaluation: the score measures the cut",
                )
            if samples and ungraded > 0.05 * samples:
                yield Finding(
                    record.name,
                    f"{ungraded:.0f} samples of {model} could not be graded",
                    f"{ungraded / samples:.1%} of all",
                    "r1 rewards audit, r1 doctor: a grader fails on these answers",
                )
