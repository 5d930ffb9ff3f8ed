"""The policy on problems that it does not train on: a curve, the best weights, and a reason to stop early.

Every `eval_every` steps the held-out problems are answered with the engine's current weights, under R1's protocol
(arXiv 2501.12948v2, D.1: temperature 0.6, top-p 0.95, mean of several samples). Each time the same seed is used and no
random state of the training is touched: a run with evaluations updates the same weights as one without. The best score
and its step are part of the trainer's state, so a resumed run decides as an uninterrupted one would.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerState

from models.chat import asked
from models.checkpoint import save_model
from models.sealed import SEAL, flaw, publish
from rl.batch import Group, split_scores
from rl.config import GrpoError, GrpoSettings
from rl.numbers import step_numbers
from rl.watch import Watch, read
from rollout.requests import request_seed
from rollout.types import Sample, SamplingParams, Scorer
from sft.progress import Log

if TYPE_CHECKING:
    from rl.trainer import Trainer

TEMPERATURE, TOP_P = 0.6, 0.95
BEST = "best-"  # folders in scratch, named by step
SHOWN = ("accuracy", "length", "finished")


def check_heldout(
    settings: GrpoSettings, rows: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]
) -> None:
    """GrpoError where a held-out problem is trained on as well, where there are none, or where they are for nothing."""
    if bool(rows) != bool(settings.eval_every):
        raise GrpoError(
            "the `dev` problems are never looked at: set eval_every, or leave `dev` out"
            if rows
            else "eval_every needs held-out problems: name them as input `dev`, for example problems.dev"
        )
    seen = {asked(row) for row in trained}
    both = [row for row in rows if asked(row) in seen]
    if both:
        raise GrpoError(
            f"{len(both)} of {len(rows)} held-out problems are trained on, for example "
            f"{both[0].get('id')}: give another dev set (problems.dev is disjoint from problems.train)"
        )


class Heldout(TrainerCallback):
    """Evaluates before the first step, every `eval_every` steps and after the last one; never where that is 0.

    The score is the share of right answers, or the mean reward where nothing says what is right. `log` gets a line of
    its own for each evaluation, with the numbers of the weight sync that it needed.
    """

    def __init__(
        self,
        settings: GrpoSettings,
        rows: Sequence[Mapping[str, Any]],
        prompts_ids: Sequence[list[int]],
        scratch: str | Path,
        log: Log,
        checks: Scorer | None = None,
        say: Callable[[str], None] = lambda line: None,
        *,
        resumed: bool = False,
    ) -> None:
        self._settings, self._rows, self._prompts_ids = settings, rows, prompts_ids
        self._scratch, self._log, self._checks, self._say = Path(scratch), log, checks, say
        self._watch = Watch(scratch, settings.learned, resumed=resumed)
        self.trainer: Trainer | None = None
        self.evaluating = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._settings.eval_every and state.global_step == 0:
            self._evaluate(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = self._settings.eval_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._evaluate(state)
            control.should_training_stop |= self.stops(state)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._drop_beaten(state.best_global_step)

    def hand_on(self, out_dir: str | Path) -> bool:
        """Copy the best weights to `out_dir`; False, and nothing done, if they are the ones in the trainer.

        Raises GrpoError where they are not what was written: then the checkpoints go, and the next run begins anew.
        """
        assert self.trainer is not None
        state = self.trainer.state
        if self._settings.hand_on == "last" or state.best_global_step == state.global_step:
            return False
        best = self._scratch / f"{BEST}{state.best_global_step}"
        if what := flaw(best):
            for folder in (best, *self._scratch.glob("checkpoint-*")):
                shutil.rmtree(folder, ignore_errors=True)
            raise GrpoError(f"the best weights, of step {state.best_global_step}, are damaged: {what}; train again")
        shutil.copytree(best, out_dir, ignore=shutil.ignore_patterns(SEAL))
        return True

    def _evaluate(self, state: TrainerState) -> None:
        assert self.trainer is not None
        trainer, settings, began = self.trainer, self._settings, time.perf_counter()
        self.evaluating = True
        trainer.ahead.wait()  # it moves the random state, which is kept from here on
        seed = request_seed(trainer.args.seed, -1) % 2**31
        params = SamplingParams(TEMPERATURE, TOP_P, settings.max_tokens, seed, tuple(trainer.eos_token_ids))
        with _random_state_kept(), _apart(trainer) as noted:
            trainer.sync()
            drawn = trainer.draw(self._rows, self._prompts_ids, params, settings.eval_samples)
        groups = split_scores(range(len(self._rows)), drawn.rollouts, drawn.samples, drawn.scored)
        numbers = step_numbers(groups, settings.correct)
        rewards = [reward for group in groups for reward in group.total if reward is not None]
        if "accuracy" not in numbers and not rewards:
            raise GrpoError("no reward applies to the held-out problems, so there is nothing to choose by")
        reward = {"reward": sum(rewards) / len(rewards)} if rewards else {}
        score = numbers.get("accuracy", reward.get("reward", 0.0))
        watched = self._look(groups, drawn.samples, state.global_step)
        line = {"score": score, **reward, **{name: numbers[name] for name in SHOWN if name in numbers}}
        self._log(
            state.global_step,
            **{f"heldout/{name}": value for name, value in line.items()},
            **watched,
            **{name: values[-1] for name, values in noted.items() if values},
            **{"seconds/heldout": time.perf_counter() - began},
        )
        if state.best_metric is None or score > state.best_metric:
            state.best_metric, state.best_global_step = score, state.global_step
            if settings.hand_on == "best":
                self._save_best(state.global_step)
        self.evaluating = False

    def _look(self, groups: Sequence[Group], samples: Sequence[Sequence[Sample]], step: int) -> dict[str, float]:
        """Means of what is watched, as `watch/<name>`; with an alarm `hacking_alarm`, its step."""
        checks = self._checks(samples).parts_P_G if self._checks is not None else {}
        reading = read(groups, checks, self._settings.learned, self._settings.correct)
        if not set(reading) & set(self._settings.learned):
            return {}  # rules alone
        means = {f"watch/{name}": fmean(values.values()) for name, values in reading.items()}
        alarm = self._watch.look(reading, step)
        if alarm is None:
            return means
        self._say(f"step {step}: {alarm}")
        return {**means, "hacking_alarm": step}

    def stops(self, state: TrainerState) -> bool:
        """Whether the training ends here: out of patience, or an alarm that ends it."""
        alarm = self._watch.alarm if self._settings.on_alarm == "stop" else None
        return stops(state, self._settings) or (alarm is not None and alarm <= state.global_step)

    def _save_best(self, step: int) -> None:
        assert self.trainer is not None
        place, temp = self._scratch / f"{BEST}{step}", self._scratch / ".saving-best"
        shutil.rmtree(temp, ignore_errors=True)
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        save_model(model, self.trainer.processing_class, temp, dtype=self._settings.save_dtype)
        publish(temp, place)
        self._drop_beaten(step)

    def _drop_beaten(self, step: int) -> None:
        """Remove the best weights of before, but for those of a checkpoint that a killed run would go on from."""
        asked = set()
        for file in self._scratch.glob("checkpoint-*/trainer_state.json"):
            with suppress(OSError, ValueError):  # a damaged one: nobody will go on from it
                asked.add(TrainerState.load_from_json(str(file)).best_global_step)
        for folder in self._scratch.glob(f"{BEST}*"):
            if folder.name not in {f"{BEST}{wanted}" for wanted in {step, *asked}}:
                shutil.rmtree(folder, ignore_errors=True)


def summary(lines: Sequence[Mapping[str, float]], state: TrainerState) -> dict[str, Any]:
    """heldout_first, heldout_last (of the lines logged), heldout_best, best_step; nothing without evaluations.

    hacking_alarm: the step of the first alarm, if there was one.
    """
    if state.best_metric is None:
        return {}
    scores = [line["heldout/score"] for line in lines if "heldout/score" in line]
    ends = {"heldout_first": scores[0], "heldout_last": scores[-1]} if scores else {}
    alarms = [line["hacking_alarm"] for line in lines if "hacking_alarm" in line]
    alarm = {"hacking_alarm": int(alarms[0])} if alarms else {}
    return {**ends, "heldout_best": state.best_metric, "best_step": state.best_global_step, **alarm}


def stops(state: Any, settings: GrpoSettings) -> bool:
    """Whether `patience` evaluations in a row have not beaten the best one; it changes at evaluations only."""
    best = state.best_global_step or 0
    return bool(settings.patience) and state.global_step - best >= settings.patience * settings.eval_every


def train_on(trainer: Trainer, heldout: Heldout, checkpoint: Path | None) -> None:
    """Train, from a checkpoint if there is one. One at which the run had stopped early is taken for its end."""
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if heldout.stops(state):
            trainer.take_as_trained(str(checkpoint))
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    python = random.getstate()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)


@contextmanager
def _apart(trainer: Trainer) -> Iterator[dict[str, list[float]]]:
    """What the trainer notes meanwhile, kept out of the line of the step that has just ended."""
    kept, noted = trainer._metrics["train"], defaultdict[str, list[float]](list)
    trainer._metrics["train"] = noted
    try:
        yield noted
    finally:
        trainer._metrics["train"] = kept
