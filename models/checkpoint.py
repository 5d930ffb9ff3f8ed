"""Model folders: Hugging Face checkpoints that `transformers` and vLLM both load, with nothing lost on the way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.router import BIAS
from models.tiny import ROUTER_FIELDS


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
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_model(model: Any, tokenizer: Any | None, out: str | Path, *, dtype: str | None = None) -> None:
    """Write weights (checkpoint-format names, experts apart, buffers included), config and tokenizer to folder `out`.

    `dtype` casts the weights (the selection bias stays fp32); None keeps them as they are. The trainer's own `save`
    would lose nothing of the weights, but leaves config.json without what vLLM needs to load a DeepSeek-V3 shape.
    """
    import torch

    out = Path(out)
    state = model.state_dict()
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


def last_checkpoint(folder: str | Path) -> Path | None:
    """The newest complete `checkpoint-<step>` that a `Trainer` wrote into `folder`, or None.

    A kill in the middle of a save leaves trainer_state.json (written last) absent or cut off: that one is passed over.
    """
    complete = []
    for state in Path(folder).glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(json.JSONDecodeError):
            complete.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
    return max(complete)[1] if complete else None


class WholeCheckpoints:
    """Mix-in for `Trainer` classes (put it first): resuming restores every weight of a Mixture-of-Experts.

    transformers 5.17 writes a checkpoint's experts apart and loads it with a non-strict `load_state_dict` into a model
    whose experts are fused: all experts keep their starting values, with nothing but a warning to show for it.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any | None = None) -> None:
        sharded = getattr(self, "is_fsdp_enabled", False) or getattr(self, "is_deepspeed_enabled", False)
        model = model if model is not None else self.model  # type: ignore[attr-defined]
        if sharded or not hasattr(model, "config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        dtype = str(model.dtype).removeprefix("torch.")
        model.load_state_dict(load_model(resume_from_checkpoint, dtype, device="cpu").state_dict())
