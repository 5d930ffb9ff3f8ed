"""The scorer of a stage: rewards in killable workers and, where `preference` is among them, reward models before.

A general prompt carries in its column `judge` whose it is: `helpful` or `safety`. That reward model alone judges it
(R1, arXiv 2501.12948v2, eq. 9); prompts without the column are none of its business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from pipelines.artifacts import RewardModel
from pipelines.context import Context
from pipelines.stage import StageError
from rollout.reward_engine import RewardEngine
from rollout.reward_info import RewardModelInfo
from rollout.types import Sample, Scored, Scorer

PREFERENCE = "preference"  # the reward
JUDGE = "judge"  # the column
JUDGES = ("helpful", "safety")  # its values, and the stages' inputs

Groups = Sequence[Sequence[Sample]]


def preference_faults(rewards: Collection[str], given: Collection[str], takes: Collection[str] = JUDGES) -> list[str]:
    """What does not fit between a stage's rewards and its inputs `given` of those it `takes`; one line each."""
    models = [name for name in JUDGES if name in given]
    if PREFERENCE in rewards and not set(takes) & set(JUDGES):
        return [f"reward `{PREFERENCE}`: this stage takes no reward model: drop it from the rewards"]
    if PREFERENCE in rewards and not models:
        return [f"reward `{PREFERENCE}` needs a reward model: add `from: {{helpful: ...}}`, `safety`, or both"]
    if PREFERENCE not in rewards and models:
        return [f"input `{models[0]}` is not used: add `{PREFERENCE}` to the rewards, or drop the input"]
    return []


@contextmanager
def make_scorer(
    ctx: Context,
    rewards: Mapping[str, Any],
    *,
    helpful: RewardModel | None = None,
    safety: RewardModel | None = None,
    rows: Iterable[Mapping[str, Any]] | None = None,
    quarantine: Path | None = None,
) -> Iterator[Scorer]:
    """A scorer with these rewards for the length of a `with` block: `rewards.scorer.Scorer`, with reward models in
    front of it where `preference` is among them.

    `rows`: what will be graded; where given, a `judge` without its model is told before the work. StageError, one
    line, for that, for a reward model without the reward and the other way round, and for a folder that is none.
    """
    from rewards.scorer import Scorer as WorkerScorer

    given = {name: model for name, model in (("helpful", helpful), ("safety", safety)) if model is not None}
    for fault in preference_faults(rewards, given):
        raise StageError(fault)
    with ExitStack() as stack:
        plugins, kept = list(ctx.rewards.values()), ctx.scratch / "rewards"
        scorer: Scorer = stack.enter_context(WorkerScorer(rewards, plugins, quarantine=quarantine, scratch=kept))
        if given:
            if rows is not None:
                _check_rows(rows, given)
            settings = rewards[PREFERENCE]
            kind = settings.get("engine", "auto") if isinstance(settings, Mapping) else "auto"
            judges = {name: _open(model.path, kind, stack) for name, model in given.items()}
            scorer = PreferenceScorer(scorer, judges)
            stack.callback(lambda: _report(ctx, judges))
        yield scorer


@contextmanager
def quarantine_of(ctx: Context) -> Iterator[Path]:
    """A file for samples that could not be graded. It is added to the artifact's when the block ends well; else it
    stays in scratch, which outlives a failed stage, so that what the error names is there."""
    kept = ctx.scratch / "quarantine.jsonl"
    kept.unlink(missing_ok=True)
    yield kept
    if kept.exists():
        with (ctx.out / kept.name).open("a", encoding="utf-8") as file:
            file.write(kept.read_text(encoding="utf-8"))
        kept.unlink()


@dataclass
class Judge:
    """A reward model that is ready to judge. `counts`: judged, no_answer (broken off or without an answer), too_long
    (more than the model can read)."""

    info: RewardModelInfo
    engine: RewardEngine
    tokenizer: Any
    counts: Counter[str]

    def read(self, sample: Sample) -> list[int] | None:
        """The token ids of what there is to judge; None where there is nothing, or more than the model can read."""
        from models.chat import judged_text, render_judged

        text = judged_text(sample.completion, self.info.judges) if sample.finish == "stop" else None
        if text is None:
            self.counts["no_answer"] += 1
            return None
        ids = render_judged(self.tokenizer, sample.row, text, self.info.template)
        if self.engine.context is not None and len(ids) > self.engine.context:
            self.counts["too_long"] += 1
            return None
        self.counts["judged"] += 1
        return ids

    def scores(self, samples_P_G: Groups) -> list[list[float]]:
        """Raw scores. What cannot be judged gets the lowest score of its group, and no more than the lowest the model
        gave on its held-out texts: saying nothing is never better than the worst answer."""
        ids_P_G = [[self.read(sample) for sample in samples_G] for samples_G in samples_P_G]
        asked = iter(self.engine.score([ids for ids_G in ids_P_G for ids in ids_G if ids is not None]))
        found_P_G = [[None if ids is None else next(asked) for ids in ids_G] for ids_G in ids_P_G]
        scores_P_G = []
        for found_G in found_P_G:
            floor = min([self.info.lowest, *(score for score in found_G if score is not None and isfinite(score))])
            scores_P_G.append([floor if score is None else score for score in found_G])
        return scores_P_G


class PreferenceScorer:
    """`rollout.types.Scorer`: puts each sample's score by its judge into its row, then has the rewards grade it."""

    def __init__(self, scorer: Scorer, judges: Mapping[str, Judge]) -> None:
        self._scorer, self._judges = scorer, judges

    def __call__(self, samples_P_G: Groups) -> Scored:
        """Grade P groups of samples. StageError where a row's `judge` is unknown or has no model here."""
        from rewards.preference import SCORE

        _check_rows((sample.row for samples_G in samples_P_G for sample in samples_G), self._judges)
        scores: dict[tuple[int, int], float] = {}
        for name, judge in self._judges.items():
            places = [p for p, samples_G in enumerate(samples_P_G) if samples_G and samples_G[0].row.get(JUDGE) == name]
            for p, scores_G in zip(places, judge.scores([samples_P_G[p] for p in places]), strict=True):
                scores.update({(p, g): score for g, score in enumerate(scores_G)})
        judged_P_G = [
            [replace(one, row={**one.row, SCORE: scores.get((p, g))}) for g, one in enumerate(samples_G)]
            for p, samples_G in enumerate(samples_P_G)
        ]
        return self._scorer(judged_P_G)


def _open(path: Path, kind: Any, stack: ExitStack) -> Judge:
    from models.checkpoint import load_tokenizer
    from models.scalar import ScalarModelError
    from rollout.reward_engine import make_reward_engine
    from rollout.server import EngineFailure

    try:
        info = RewardModelInfo.read(path)
        engine = make_reward_engine(kind, path)
    except (ScalarModelError, EngineFailure, ValueError) as error:
        raise StageError(str(error)) from error
    stack.callback(engine.close)
    return Judge(info, engine, load_tokenizer(path), Counter())


def _check_rows(rows: Iterable[Mapping[str, Any]], models: Collection[str]) -> None:
    for row in rows:
        judge = row.get(JUDGE)
        if judge is not None and judge not in models:
            known = judge in JUDGES
            what = "has no reward model here: add it to the inputs" if known else f"is none of {', '.join(JUDGES)}"
            raise StageError(f"problem {row.get('id')!r}: judge {judge!r} {what}")


def _report(ctx: Context, judges: Mapping[str, Judge]) -> None:
    """A line where there was something that a model could not judge."""
    for name, judge in judges.items():
        silent, long = judge.counts["no_answer"], judge.counts["too_long"]
        if silent or long:
            ctx.say(
                f"reward model `{name}` judged {judge.counts['judged']} completions; {silent} had nothing to judge and"
                f" {long} were longer than it can read: these got its lowest score"
            )
