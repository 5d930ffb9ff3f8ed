"""Model folders: Hugging Face checkpoints that `transformers` and vLLM both load, with nothing lost on the way."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import disk_usage
from typing import Any

from models.finite import check_finite
from models.lora import has_adapter, load_adapter, merged_state, save_adapter
from models.router import BIAS
from models.sealed import flaw, publish
from models.tiny import ROUTER_FIELDS

SAVING = ".saving"  # where a checkpoint is written before it counts


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers inside: a stage has its own."""
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def load_model(path: str | Path, dtype: str = "float32", *, device: str | None = None) -> Any:
    """A causal language model from a folder or Hub id, in training precision `dtype` ("float32", "bfloat16", ...).

    The selection bias stays fp32 whatever the dtype. Experts run as one grouped matrix product, transformers' default
    (in fp32 on a CPU measured 1.9 times as fast as the per-expert loop); asked for by name it would refuse every dense
    model. ValueError with one line when the folder holds no model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        raise ValueError(f"model: {path} holds no config.json: give a Hugging Face model folder or Hub id")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
    return model.to(device)


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a model folder, with a pad token (the eos token where it has none)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    # How it was loaded would be saved with it, as this process's environment has it.
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_model(model: Any, tokenizer: Any | None, out: str | Path, *, dtype: str | None = None) -> None:
    """Write weights (checkpoint-format names, experts apart, buffers included), config and tokenizer to folder `out`.

    An adapter is merged. `dtype` casts the weights (the selection bias stays fp32); None keeps them as they are. The
    trainer's own `save` would lose nothing of the weights, but leaves config.json without what vLLM needs to load a
    DeepSeek-V3 shape. DivergenceError where a weight is not finite: the next stage would fail in a stranger way.
    """
    import torch

    out = Path(out)
    state = merged_state(model)
    check_finite(state)
    if dtype is not None:
        target = getattr(torch, dtype)
        state = {k: v if k.endswith(BIAS) or not v.is_floating_point() else v.to(target) for k, v in state.items()}
    with quiet():
        model.save_pretrained(out, state_dict=state)
    complete_config(out, **({"dtype": dtype} if dtype else {}))
    if tokenizer is not None:
        tokenizer.save_pretrained(out)


def complete_config(folder: str | Path, **fields: Any) -> None:
    """Put `fields` into a folder's config.json, and the router fields vLLM needs where it is a DeepSeek-V3 shape."""
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("model_type") == "deepseek_v3":
        fields = {**ROUTER_FIELDS, **fields}
    if not fields.items() <= config.items():
        file.write_text(json.dumps({**config, **fields}, indent=2) + "\n", encoding="utf-8")


def last_checkpoint(folder: str | Path, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest `checkpoint-<step>` in `folder` whose files are what was written, or None.

    A damaged or unfinished one is removed, so that it is never counted as one to fall back on; `say` gets a line about
    it: what is wrong with it, and what is used instead.
    """
    found = _checkpoints(folder)
    told: list[str] = []
    sound = None
    while found and sound is None:
        newest = found.pop()
        if wrong := flaw(newest):
            told.append(f"{newest}: damaged, not used: {wrong}")
            shutil.rmtree(newest, ignore_errors=True)
        else:
            sound = newest
    instead = f"going on from {sound.name}" if sound else "no other checkpoint is left: starting anew"
    for line in told:
        say(f"{line}; {instead}")
    return sound


def step_of(checkpoint: str | Path) -> int:
    """The number of optimizer steps after which a checkpoint was taken, from its name."""
    return int(Path(checkpoint).name.rsplit("-", 1)[1])


def _checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoint folders by step, damaged ones included."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]
    return sorted(found, key=step_of)


class WholeCheckpoints:
    """Mix-in for `Trainer` classes (put it first): checkpoints that appear whole or not at all, and resume whole.

    A checkpoint is written to `.saving`, sealed with the digest of every file (`models.sealed`) and moved into place;
    only then the ones before it go, but for the newest `args.save_total_limit` and those named in `protected`.
    Disks: OSError (ENOSPC) before the first step where what the run will write cannot fit, and when one fills up.

    transformers 5.17 writes a checkpoint's experts apart and loads it with a non-strict `load_state_dict` into a model
    whose experts are fused: all experts keep their starting values, with nothing but a warning to show for it. And a
    run that resumes from its last step, but not at the end of an epoch, does one step too many.
    """

    protected: frozenset[str] = frozenset()
    """Names of checkpoint folders that stay, however old."""

    load_whole: Callable[..., Any] = staticmethod(load_model)
    """Loads a model folder of the kind that is being trained."""

    args: Any
    model: Any
    state: Any
    accelerator: Any
    callback_handler: Any
    control: Any

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:
        saving = Path(self._get_output_dir(None))
        shutil.rmtree(saving, ignore_errors=True)  # what a kill left
        self._require_room(saving.parent)
        try:
            if resume_from_checkpoint and 0 < self.args.max_steps <= step_of(resume_from_checkpoint):
                return self.take_as_trained(resume_from_checkpoint)
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)  # type: ignore[misc]
        except RuntimeError as error:
            # torch.save does not say why a write failed.
            if saving.exists() and disk_usage(saving).free < 2**20:
                raise OSError(errno.ENOSPC, "No space left on device", str(saving)) from error
            raise
        finally:
            shutil.rmtree(saving, ignore_errors=True)

    def take_as_trained(self, checkpoint: str) -> None:
        """Be as a run that ended at this checkpoint: its weights, its state, no further step."""
        from transformers import TrainerState

        self._load_from_checkpoint(checkpoint)
        self.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card among the checkpoints."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(super()._get_output_dir(trial)) / SAVING)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            made = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            folder = made.parents[1]
            publish(made, folder / made.name)
            old = [path for path in _checkpoints(folder) if path.name not in self.protected]
            for path in old[: -self.args.save_total_limit]:
                shutil.rmtree(path, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _require_room(self, folder: Path) -> None:
        """Weights and AdamW's two moments for each checkpoint kept and the one being written, and the model itself."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        trained = sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        saves = self.args.save_strategy != "no"
        kept = trained if has_adapter(self.model) else weights
        needed = weights + saves * (self.args.save_total_limit + 1) * (kept + 2 * trained)
        there = sum(file.stat().st_size for path in _checkpoints(folder) for file in path.rglob("*") if file.is_file())
        if (free := disk_usage(folder).free + there) < needed:
            raise OSError(
                errno.ENOSPC,
                f"the model and its checkpoints take about {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free "
                "(fewer checkpoints: keep, save_every: 0)",
                str(folder),
            )

    def _save(self, output_dir: str | None = None, state_dict: Any | None = None) -> None:
        """Of a model with an adapter, only what training changes."""
        if has_adapter(self.model):
            save_adapter(self.model, output_dir or self.args.output_dir)
        else:
            super()._save(output_dir, state_dict)  # type: ignore[misc]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any | None = None) -> None:
        sharded = getattr(self, "is_fsdp_enabled", False) or getattr(self, "is_deepspeed_enabled", False)
        model = model if model is not None else self.model
        if sharded or not hasattr(model, "config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        if has_adapter(model):
            load_adapter(model, resume_from_checkpoint)
            return
        dtype = str(model.dtype).removeprefix("torch.")
        model.load_state_dict(self.load_whole(resume_from_checkpoint, dtype, device="cpu").state_dict())
