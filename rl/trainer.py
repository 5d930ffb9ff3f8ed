"""TRL's `GRPOTrainer` with our engine, our scorer and our batching. The loss stays TRL's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from models.checkpoint import WholeCheckpoints
from models.finite import check_finite, smallest_trained
from models.replay import RouterReplay, place_routes
from rl.advantages import group_advantages
from rl.ahead import Ahead
from rl.batch import Group, draw_groups, split_scores
from rl.config import GrpoSettings
from rl.correction import correction_numbers, correction_weights
from rl.drawing import Drawn, draw_and_grade
from rl.logprobs import completion_logprobs
from rl.numbers import policy_numbers, step_numbers
from rl.reference import AdapterReference, ModelReference
from rl.schedule import Schedule
from rl.shared_prompts import can_share
from rollout.canary import Canary
from rollout.requests import request_seed
from rollout.types import Each, Engine, Rollout, SamplingParams, Scorer

REFERENCE = "reference"  # folder in a checkpoint, written once the reference has been replaced


@dataclass(frozen=True)
class Inputs:
    """What the trainer draws on. `prompts_ids` are the rows' rendered prompts, in their order."""

    rows: Sequence[Mapping[str, Any]]
    prompts_ids: Sequence[list[int]]
    engine: Engine
    canary: Canary
    scorer: Scorer
    schedule: Schedule


@dataclass(frozen=True)
class Batch:
    """What was drawn for one batch of problems (`rows`). `seconds`: of generating and scoring."""

    rows: Sequence[int]
    groups: Sequence[Group]
    given_up: Sequence[Group]
    errors: int
    seconds: Mapping[str, float]


class Trainer(WholeCheckpoints, GRPOTrainer):
    """Three of TRL's steps are replaced: prompts to ids, ids to completions, completions to rewards; and log-probs
    are computed by token budget. A dataset row is the index of a problem, as text."""

    def __init__(
        self,
        *,
        settings: GrpoSettings,
        inputs: Inputs,
        reference: ModelReference | AdapterReference | None,
        args: GRPOConfig,
        replay: RouterReplay | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings, self.inputs = settings, inputs
        super().__init__(args=args, reward_funcs=_scored_elsewhere, **kwargs)
        self.remove_callback(PrinterCallback)
        if reference is not None:  # given to TRL, it would load it again, with the slow experts
            self.beta, self.ref_model = settings.beta, reference
        # TRL applies the trainer/engine correction only to its own vLLM path; this switch is all that the path needs.
        self.use_vllm = settings.corrects
        self._weights: tuple[Tensor, Tensor, Tensor] | None = None  # of the update in hand, its engine log-probs, mask
        self._replay = replay
        self._shares_prompts = settings.can_share and can_share(self.model.config)
        self._routes: Tensor | None = None  # of the rows in hand, once they are known
        self._synced_step = -1
        self._rows: list[int] = []
        self._groups: Sequence[Group] = []
        self._advantages = torch.empty(0)
        self._stale = False  # whether the groups in hand were drawn with weights of before
        self.ahead: Ahead[Batch] = Ahead()
        self._due: int | None = None  # the step whose batch may be drawn ahead now

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        self._rows = [int(index) for index in prompts[:: self.settings.group]]
        return [self.inputs.prompts_ids[int(index)] for index in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, num_generations: int, **_: Any
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Take the groups that were drawn ahead, or sync the engine and draw them now.

        Scores are known before TRL asks for them: which groups stay depends on them. `prompt_ids` is changed in
        place, because a refilled group has another prompt.
        """
        step, batch = self.state.global_step, self.ahead.take()
        waited = {"generate": self.ahead.waited, "score": 0.0}
        self.sync()
        self._stale = batch is not None
        if batch is None:
            batch = self._draw_batch(self._rows, step)
            waited = dict(batch.seconds)
        assert batch.rows == self._rows, "the batch drawn ahead is another step's"
        if self.settings.sleep:
            self.inputs.engine.sleep()
            self._synced_step = -1  # it wakes without weights
        self._due = step + self.settings.updates_per_rollout
        groups, settings = batch.groups, self.settings
        advantages = group_advantages([group.total for group in groups], settings.scale_rewards)
        self._groups = groups
        self._advantages = torch.tensor(advantages.values_P_G, device=self.accelerator.device).flatten()
        hidden = sum(batch.seconds.values()) - sum(waited.values())
        self.note(
            zero_variance=advantages.zero_variance,
            unscored=advantages.unscored,
            grading_errors=batch.errors,
            **({"refilled": len(batch.given_up) / len(groups)} if settings.refill else {}),
            **({"stale": self._stale, "seconds/overlapped": max(0.0, hidden)} if settings.overlap else {}),
            **step_numbers([*groups, *batch.given_up], settings.correct),
            **{f"seconds/{name}": value for name, value in waited.items()},
        )
        prompt_ids[:] = [self.inputs.prompts_ids[group.row] for group in groups for _ in group.rollouts]
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        return [r.completion_ids for r in rollouts], [r.logprobs for r in rollouts]

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's, and where that has drawn a batch, the next one begins. Not sooner: TRL shuffles the batch, and vLLM's
        sampler on a CPU moves the same random state, so that each run would get another order."""
        inputs = super()._prepare_inputs(generation_batch)
        due, self._due = self._due, None
        if due is not None:
            self._draw_ahead(due)
        return inputs

    def _draw_ahead(self, step: int) -> None:
        """Begin drawing the batch of `step` with the weights that the engine has now, one batch before its time.

        Not across a checkpoint, which holds no rollouts: a resumed run draws there what this one draws.
        """
        saves = self.args.save_strategy != "no" and step % self.args.save_steps == 0
        if not self.settings.overlap or saves or step >= self.args.max_steps:
            return
        settings = self.settings
        n = settings.prompts_per_step * settings.minibatches
        first = step // settings.updates_per_rollout * n
        rows = [int(index) for index in self.train_dataset[first : first + n]["prompt"]]
        self.ahead.start(lambda: self._draw_batch(rows, step))

    def _draw_batch(self, rows: Sequence[int], step: int) -> Batch:
        """Generate and score a group for each row, and refill. Reads nothing that an update changes."""
        seconds, errors = {"generate": 0.0, "score": 0.0}, 0
        seed = request_seed(self.args.seed, step)

        def draw(chosen: Sequence[int], attempt: int) -> list[Group]:
            """`attempt` 0 is the batch itself, later ones refill it."""
            nonlocal errors
            self.ahead.check()
            params = SamplingParams(
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                max_tokens=self.settings.max_tokens,
                seed=(request_seed(seed, attempt) if attempt else seed) % 2**31,
                stop_ids=tuple(self.eos_token_ids),
            )
            prompts = [self.inputs.prompts_ids[row] for row in chosen]
            drawn = self.draw([self.inputs.rows[row] for row in chosen], prompts, params, self.settings.group)
            errors += drawn.scored.errors
            for name, value in drawn.seconds.items():
                seconds[name] += value
            return split_scores(chosen, drawn.rollouts, drawn.samples, drawn.scored)

        spare = self.inputs.schedule.spare(rows, step)
        groups, given_up = draw_groups(rows, spare, draw, self.settings.refill, self.settings.correct)
        return Batch(rows, groups, given_up, errors, seconds)

    def draw(
        self,
        problems: Sequence[Mapping[str, Any]],
        prompts_ids: Sequence[list[int]],
        params: SamplingParams,
        n: int,
    ) -> Drawn:
        """`n` graded rollouts for each of some problems, of whatever set."""

        def generate(each: Each) -> list[list[Rollout]]:
            def heard(place: int, rollout: Rollout) -> None:
                self.ahead.check()
                each(place, rollout)

            return self.inputs.engine.generate(prompts_ids, params, n, each=heard)

        return draw_and_grade(problems, n, generate, self.inputs.scorer, self._decode)

    def _decode(self, rollout: Rollout) -> str:
        return str(self.processing_class.decode(rollout.completion_ids, skip_special_tokens=True))

    def sync(self) -> None:
        """Give the engine the current weights, where it has others, and ask the canary. The engine is free then."""
        self.ahead.wait()
        if self._synced_step == self.state.global_step:
            return
        began = time.perf_counter()
        model = self.accelerator.unwrap_model(self.model)
        check_finite(smallest_trained(model), step=self.state.global_step)
        self.inputs.engine.sync(model)
        self._synced_step = self.state.global_step
        synced = time.perf_counter()
        gap = self.inputs.canary.check(model, self.inputs.engine, step=self.state.global_step)
        self.note(
            **{"canary_gap/max": gap.max, "canary_gap/mean": gap.mean, "canary_rounds": gap.rounds},
            **{"seconds/sync": synced - began, "seconds/canary": time.perf_counter() - synced},
        )

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """(B, 1) totals, NaN where there is none."""
        totals = [float("nan") if r is None else r for group in self._groups for r in group.total]
        return torch.tensor(totals, device=self.accelerator.device)[:, None]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._routes = self._weights = None
        self.use_vllm = self.settings.corrects and self.settings.has_old_pass  # else TRL would pay a pass for pi_old
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.use_vllm = self.settings.corrects
        output["advantages"] = self._advantages  # before TRL shuffles the batch and cuts it into mini-batches
        if self._replay is not None:
            if self._routes is None:  # no pass has asked for them yet
                masks = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
                self._routes = self._rollout_routes(masks)
            output["routes"] = self._routes
        return output

    def _rollout_routes(self, attention_mask: Tensor) -> Tensor:
        """(B, P + C, L, k): the engine's experts, put where the batch has the tokens."""
        rollouts = [rollout for group in self._groups for rollout in group.rollouts]
        return place_routes([rollout.experts for rollout in rollouts], attention_mask, self._replay.layers)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss without the samples that cannot change it; every mean still divides by the whole batch."""
        if self.settings.skips_flat_groups:
            mask = inputs["completion_mask"] * inputs["advantages"].ne(0)[:, None]
            inputs = {**inputs, "completion_mask": mask}
        self._routes = inputs.get("routes")
        self._weights = None
        if self.settings.corrects and "importance_sampling_ratio" not in inputs:
            engine, mask = inputs["sampling_per_token_logps"], inputs["completion_mask"]
            weights = torch.empty_like(engine[:, :1] if self.settings.correction.startswith("sequence") else engine)
            self._weights = weights, engine, mask  # filled by the forward pass, before the loss reads them
            inputs = {**inputs, "importance_sampling_ratio": weights}
        loss: Tensor = super()._compute_loss(model, inputs)
        if self._replay is not None:
            self.note(**{"replay/changed": self._replay.changed()})
        if not inputs["completion_mask"].any():
            self._metrics["train"]["entropy"][-1] = float("nan")  # of no token: TRL would say 0
        self.note(**policy_numbers(self._logps, inputs, comparable=self.settings.comparable and not self._stale))
        if self.off_policy_mask_threshold is not None:
            engine, mask = inputs["sampling_per_token_logps"], inputs["completion_mask"]
            advantages, limit = inputs["advantages"][:, None], self.off_policy_mask_threshold
            kept = self.get_off_policy_mask(advantages, self._logps, engine, mask, limit)
            self.note(off_policy_masked=1 - kept.float().mean())
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        trains = torch.is_grad_enabled()
        if self.settings.skips_flat_groups and not self.settings.corrects and not trains:
            # The pass for pi_old, over the whole batch: the loss will not read the rows that it skips.
            attention_mask = attention_mask.clone()
            attention_mask[self._advantages == 0, -logits_to_keep:] = 0
        with self.accelerator.autocast(), self._routed(model, attention_mask) as replay:
            found = completion_logprobs(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_tokens=self.settings.batch_tokens or (32768 if input_ids.is_cuda else 2048),
                entropy=compute_entropy,
                aux_loss=compute_aux_loss,
                replay=replay,
                share_prompts=self._shares_prompts,
                share_rows=self.settings.can_share,
            )
        if trains:
            self._logps = found[0].detach()
            if self._weights is not None:
                weights, engine, mask = self._weights
                weights.copy_(correction_weights(self._logps, engine, mask, self.settings))
                self.note(**correction_numbers(weights, mask))
        return found

    @contextmanager
    def _routed(self, model: Any, attention_mask: Tensor) -> Iterator[RouterReplay | None]:
        """Replay of the policy's routes; R2's first pass over a batch, that for pi_old, records them instead."""
        if self._replay is None or model is self.ref_model:
            yield None
        elif self._routes is None and self.settings.router_replay == "r2":
            with self._replay.recording(*attention_mask.shape) as self._routes:
                yield self._replay
        else:
            if self._routes is None:
                self._routes = self._rollout_routes(attention_mask)
            with self._replay.replaying(self._routes):
                yield self._replay

    def note(self, **numbers: float) -> None:
        """Add numbers to this step's log line (averaged if the line covers several)."""
        for name, value in numbers.items():
            self._metrics["train"][name].append(float(value))

    def replace_reference(self) -> None:
        """The reference becomes the current policy, buffers included (R1: every 400 steps)."""
        if self.ref_model is not None:
            self.ref_model.replace(self.accelerator.unwrap_model(self.model))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Also keeps a replaced reference: without it a resumed run would fall back to the first one."""
        every = self.settings.ref_every
        if self.ref_model is not None and every and self.state.global_step >= every:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}" / REFERENCE
            self.ref_model.save(folder)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint) / REFERENCE
        if self.ref_model is not None and folder.exists():
            self.ref_model.load(folder)


def _scored_elsewhere(**_: Any) -> list[float]:
    """Named as TRL's one reward function; the scorer does the work."""
    raise AssertionError("rewards come from the scorer")
