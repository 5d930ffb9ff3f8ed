"""Group-relative policy optimisation: problems and a scorer in, a better model out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig

from models.chat import render_prompt
from models.checkpoint import last_checkpoint, load_model, load_tokenizer, quiet, save_model, step_of
from models.lora import add_adapter
from models.replay import RouterReplay
from models.router_callback import RouterCallback
from rl.config import GrpoError, GrpoSettings
from rl.heldout import Heldout, check_heldout, train_on
from rl.heldout import summary as heldout_summary
from rl.numbers import log_line
from rl.reference import AdapterReference, ModelReference
from rl.schedule import Schedule
from rl.trainer import Inputs, Trainer
from rollout.canary import PROBE_LENGTH, Canary
from rollout.factory import make_engine
from rollout.process import share_of_cores
from rollout.server import EngineFailure
from rollout.types import Engine, Scorer
from sft.progress import Bar, Log


class Reporter(TrainerCallback):
    """Hands each step's numbers to the stage's log and bar, and replaces the reference when it is due."""

    def __init__(self, settings: GrpoSettings, log: Log, progress: Callable[[str, int | None], Bar]) -> None:
        self._settings, self._log, self._progress = settings, log, progress
        self.trainer: Trainer | None = None
        self.lines: list[dict[str, float]] = []

    def add(self, step: int, **numbers: Any) -> None:
        """A line of the log."""
        self.lines.append(numbers)
        self._log(step, **numbers)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar = self._progress("grpo", state.max_steps)
        if state.global_step:
            self._bar.advance(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        self.trainer.note(**{"seconds/step": time.perf_counter() - self._began})
        every = self._settings.ref_every
        if every and state.global_step % every == 0:
            self.trainer.replace_reference()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        line = log_line(logs)
        parts = [line.get(f"seconds/{name}", 0.0) for name in ("sync", "canary", "generate", "score")]
        line["seconds/train"] = line["seconds/step"] - sum(parts)
        self.add(state.global_step, **line)
        self._bar.advance(1, **{key: line[key] for key in ("reward", "accuracy", "length") if key in line})


def train_grpo(
    model_path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: GrpoSettings,
    scorer: Scorer,
    out_dir: str | Path,
    *,
    seed: int,
    log: Log,
    progress: Callable[[str, int | None], Bar],
    scratch: str | Path,
    resumed: Callable[[int], list[dict[str, Any]]] = lambda step: [],
    say: Callable[[str], None] = lambda line: None,
    dev: Sequence[Mapping[str, Any]] = (),
    watch: Scorer | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Train the model of `model_path` on problem rows against `scorer` and save it to `out_dir`.

    Checkpoints go to `scratch`; a call that finds one there goes on from it and ends as an uninterrupted run would:
    `resumed(step)` gives the lines logged up to then. `say` takes warnings. `dev`: held-out problems (`rl.heldout`);
    `watch` grades them by rules that nothing is trained on (`rl.watch`). `engine`: use this one and leave it open; by
    default one is made. Returns steps, samples, tokens, seconds, canary gap, reward, accuracy, length of the first and
    last tenth (`reward_first`, ...), with `dev` heldout_*, best_step, hacking_alarm.

    Raises, in one line: GrpoError, LoraError, RouterError (data, model, settings do not fit), DivergenceError (weights
    no longer finite), CanaryFailure (disagreement after a sync), EngineFailure (after a checkpoint; servers failed).
    """
    began = time.monotonic()
    check_heldout(config, dev, rows)
    schedule = Schedule(rows, config, seed)
    tokenizer, start = load_tokenizer(model_path), last_checkpoint(scratch, say)
    prompts_ids, dev_ids = ([render_prompt(tokenizer, row, config.template) for row in part] for part in (rows, dev))
    model = _load_policy(config, model_path, seed)
    length, dtype = _check_sizes(model, [*prompts_ids, *dev_ids], config), _engine_dtype(config)
    replay = RouterReplay(model) if config.router_replay != "off" else None
    own = None if engine else _make_engine(config, model_path, length, dtype, seed)
    with nullcontext(engine) if own is None else closing(own) as engine:
        canary = _canary(config, model, dtype, prompts_ids, seed)
        router, reporter = RouterCallback(config.policy, model), Reporter(config, log, progress)
        heldout = Heldout(config, dev, dev_ids, scratch, reporter.add, watch, say, resumed=start is not None)
        trainer = Trainer(
            settings=config,
            inputs=Inputs(rows, prompts_ids, engine, canary, scorer, schedule),
            reference=_reference(config, model, model_path),
            model=model,
            replay=replay,
            args=_arguments(config, scratch, seed),
            train_dataset=Dataset.from_dict({"prompt": [str(row) for row in schedule.order()]}),
            processing_class=tokenizer,
            callbacks=[router, reporter, heldout],
        )
        reporter.trainer = heldout.trainer = trainer
        reporter.lines = resumed(step_of(start)) if start is not None else []
        with quiet(), _sharing_cores(config), _drawing_ahead(trainer, own, say):
            _train(trainer, heldout, start)
        numbers = _summary(reporter.lines, trainer, engine)
    if not heldout.hand_on(out_dir):
        save_model(model, tokenizer, out_dir, dtype=config.save_dtype)
    return {**numbers, "seconds": round(time.monotonic() - began, 1)}


@contextmanager
def _drawing_ahead(trainer: Trainer, own: Engine | None, say: Callable[[str], None]) -> Iterator[None]:
    """At the end, whatever it is, nothing is at work. Servers of our `own` are stopped under their work; an engine in
    this process cannot be, and a batch of long answers takes its time."""
    try:
        yield
    except BaseException:
        if trainer.ahead.busy and own is not None and hasattr(own, "restarts"):
            own.close()
        elif trainer.ahead.busy:
            say("waiting for the batch that is being drawn ahead, then this ends")
        raise
    finally:
        trainer.ahead.close()


@contextmanager
def _sharing_cores(config: GrpoSettings) -> Iterator[None]:
    """Engine processes that draw while this one trains have all cores between them, and each thread more takes one from
    them: two processes and two trainer threads on two cores made a step of 2.06 s, with one thread 1.33."""
    threads, processes = torch.get_num_threads(), len(config.server_urls) or config.replicas
    apart = config.engine == "server" or processes > 1
    if config.overlap and apart and not torch.cuda.is_available():
        torch.set_num_threads(min(threads, share_of_cores(processes)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(trainer: Trainer, heldout: Heldout, start: Path | None) -> None:
    """Run the loop; where the rollout servers give up, the updates made so far become a checkpoint first.

    For a rollout the engine is asked between updates, when the trainer is in the state that a checkpoint of this step
    has. Within an evaluation it is not (the step is not logged yet): the last checkpoint stays the last.
    """
    try:
        train_on(trainer, heldout, start)
    except torch.OutOfMemoryError as error:
        settings = trainer.settings
        samples = settings.prompts_per_step * settings.group // settings.accumulate
        raise GrpoError(
            f"the GPU's memory does not hold the engine and a backward pass of {samples} samples: raise accumulate "
            f"({settings.accumulate}), set gradient_checkpointing: true or sleep: true, or lower gpu_memory "
            f"({settings.gpu_memory:g})"
        ) from error
    except EngineFailure as failure:
        scratch, step = Path(trainer.args.output_dir), trainer.state.global_step
        if step and not heldout.evaluating and not (scratch / f"checkpoint-{step}").exists():
            trainer._save_checkpoint(trainer.model, trial=None)
        saved = last_checkpoint(scratch)
        kept = f"step {step_of(saved)} is saved; the same command goes on from there" if saved else "no step is saved"
        raise EngineFailure(f"{failure} ({kept})") from failure


def _load_policy(config: GrpoSettings, model_path: str | Path, seed: int) -> Any:
    model = load_model(model_path)
    if config.lora_rank:
        add_adapter(model, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets, seed=seed)
    return model


def _reference(config: GrpoSettings, model: Any, model_path: str | Path) -> ModelReference | AdapterReference | None:
    """The policy without its adapter is a reference already; all other training needs a second model."""
    if not config.beta:
        return None
    return AdapterReference(model) if config.lora_rank else ModelReference(load_model(model_path), config.temperature)


def _engine_dtype(config: GrpoSettings) -> Literal["float32", "bfloat16"]:
    if config.engine_dtype != "auto":
        return config.engine_dtype
    return "bfloat16" if torch.cuda.is_available() else "float32"


def _canary(config: GrpoSettings, model: Any, dtype: Any, prompts_ids: Sequence[list[int]], seed: int) -> Canary:
    vocab = model.config.get_text_config().vocab_size
    return Canary(vocab, precision=dtype, max_gap=config.canary_max_gap, texts=prompts_ids[:2], seed=seed)


def _make_engine(config: GrpoSettings, model_path: str | Path, length: int, dtype: Any, seed: int) -> Engine:
    return make_engine(
        config.engine,
        model_path,
        max_model_len=length,
        dtype=dtype,
        max_num_seqs=config.max_num_seqs,
        kv_cache_gib=config.kv_cache_gib,
        gpu_memory=config.gpu_memory,
        # Compared with the trainer's log-probs, which are those at the sampling temperature.
        processed_logprobs=config.temperature != 1.0,
        routes=config.router_replay == "r3",
        sleeps=config.sleep,
        replicas=config.replicas,
        server_urls=config.server_urls,
        stall_seconds=config.stall_seconds,
        seed=seed,
    )


def _check_sizes(model: Any, prompts_ids: Sequence[Sequence[int]], config: GrpoSettings) -> int:
    """Tokens the engine must hold: longest prompt plus completion, and the canary's probes. GrpoError where data, model
    and machine do not fit."""
    if not prompts_ids:
        raise GrpoError("there are no problems to train on")
    if config.sleep and not torch.cuda.is_available():
        raise GrpoError("sleep: there is no GPU here whose memory the engine could give back: drop it")
    prompt = max(len(ids) for ids in prompts_ids)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and prompt + config.max_tokens > positions:
        raise GrpoError(
            f"the longest prompt ({prompt} tokens) and max_tokens ({config.max_tokens}) exceed the model's "
            f"{positions} positions: lower max_tokens to {positions - prompt} or drop long prompts"
        )
    return max(prompt + config.max_tokens, PROBE_LENGTH + 1)


def _arguments(config: GrpoSettings, scratch: str | Path, seed: int) -> GRPOConfig:
    cuda = torch.cuda.is_available()
    chunk = config.updates_per_rollout
    # vLLM has set up torch.distributed for itself (one process); transformers warns about that each time.
    logging.getLogger("transformers.training_args").setLevel(logging.ERROR)
    return GRPOConfig(
        output_dir=str(scratch),
        max_steps=config.steps,
        per_device_train_batch_size=config.prompts_per_step * config.group // config.accumulate,
        gradient_accumulation_steps=config.accumulate,
        steps_per_generation=config.accumulate * config.minibatches,
        num_iterations=config.inner_epochs,
        num_generations=config.group,
        max_completion_length=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        beta=0.0,  # the trainer sets it: TRL would load a second reference model
        use_bias_correction_kl=config.ratio_weighted_kl,
        loss_type=config.loss,
        importance_sampling_level=config.level,
        **_clip(config),
        delta=config.delta,
        mask_truncated_completions=config.mask_truncated,
        off_policy_mask_threshold=config.off_policy_mask,
        entropy_coef=config.entropy_coef,
        vllm_importance_sampling_correction=config.corrects,
        vllm_importance_sampling_mode="token_truncate" if config.correction == "off" else config.correction,
        vllm_importance_sampling_clip_max=config.correction_cap,
        vllm_importance_sampling_clip_min=config.correction_floor,
        router_aux_loss_coef=config.policy.aux_coef,
        learning_rate=config.lr,
        lr_scheduler_type="constant_with_warmup" if config.lr_schedule == "constant" else config.lr_schedule,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        adam_beta2=config.beta2,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=config.precision == "bf16" or (config.precision == "auto" and cuda),
        gradient_checkpointing=config.gradient_checkpointing,
        shuffle_dataset=False,
        logging_steps=1,
        # Checkpoints only between rollout batches: the batch itself is not saved.
        save_strategy="steps" if config.save_every else "no",
        save_steps=max(chunk, -(-config.save_every // chunk) * chunk),
        save_total_limit=config.keep,
        seed=seed,
        data_seed=seed,
        dataloader_pin_memory=cuda,
        report_to="none",
        disable_tqdm=True,
    )


def _clip(config: GrpoSettings) -> dict[str, float]:
    """Our clip range in TRL's terms: for CISPO it wants the largest ratio itself, M1's formula has 1 + epsilon_high."""
    if config.loss == "cispo":
        return {"epsilon_high": 1 + config.upper}
    return {} if config.epsilon is None else {"epsilon": config.epsilon, "epsilon_high": config.upper}


def _summary(lines: Sequence[Mapping[str, float]], trainer: Trainer, engine: Engine) -> dict[str, Any]:
    """What the manifest keeps: means over the first and last tenth of the rollouts, and the canary's largest gap."""
    numbers: dict[str, Any] = {"steps": trainer.state.global_step, "tokens": trainer.state.num_input_tokens_seen}
    if hasattr(engine, "restarts"):
        numbers["engine_restarts"] = engine.restarts
    for name in ("reward", "accuracy", "length"):
        values = [line[name] for line in lines if name in line]  # with mini-batches, not every step draws samples
        tenth = max(1, len(values) // 10)
        for part, chosen in (("first", values[:tenth]), ("last", values[-tenth:])):
            if chosen:
                numbers[f"{name}_{part}"] = sum(chosen) / len(chosen)
    gaps = [line["canary_gap/max"] for line in lines if "canary_gap/max" in line]
    return {**numbers, **({"canary_gap": max(gaps)} if gaps else {}), **heldout_summary(lines, trainer.state)}
