"""Models that give one number for a text: a scalar head on the backbone of a language model (a reward model)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.checkpoint import quiet

HEAD = "score.weight"


class ScalarModelError(ValueError):
    """A model that cannot carry a scalar head; the message is one line for the user."""


def add_scalar_head(path: str | Path, *, seed: int, device: str | None = None) -> Any:
    """The language model of a folder with a fresh scalar head in place of its output head, in float32.

    `AutoModelForSequenceClassification` loads a checkpoint's backbone as it does a language model's (experts fused,
    buffers included). The head is drawn from `seed`: normal with the model's `initializer_range`. ScalarModelError
    where transformers has no such head for the architecture, or where any other weight would stay at random.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(path)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ScalarModelError(
            f"reward-model: transformers has no scalar head for {config.model_type}: take a model of another "
            "architecture, such as deepseek_v3, qwen3, qwen3_moe, llama or mixtral"
        )
    with _silent():
        model, found = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, dtype=torch.float32, output_loading_info=True
        )
    missing = sorted(set(found["missing_keys"]) - {HEAD})
    unknown = sorted(name for name in found["unexpected_keys"] if not name.startswith("lm_head."))
    if missing or unknown or found["mismatched_keys"]:
        wrong = [*missing, *unknown, *(str(key) for key in found["mismatched_keys"])]
        raise ScalarModelError(f"reward-model: {path}: {len(wrong)} weights do not fit the model, first {wrong[0]}")
    generator = torch.Generator().manual_seed(seed)
    scale = getattr(config.get_text_config(), "initializer_range", 0.02)
    with torch.no_grad():
        model.score.weight.copy_(torch.randn(model.score.weight.shape, generator=generator) * scale)
    return _placed(model, device)


def load_scalar_model(path: str | Path, dtype: str = "float32", *, device: str | None = None) -> Any:
    """A saved reward model. ScalarModelError where the folder holds none, or not all of it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    if not (Path(path) / "config.json").exists():
        raise ScalarModelError(f"reward model: {path} holds no config.json")
    with _silent():
        model, found = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=getattr(torch, dtype), output_loading_info=True
        )
    wrong = [*found["missing_keys"], *found["unexpected_keys"], *(str(key) for key in found["mismatched_keys"])]
    if wrong or model.num_labels != 1:
        raise ScalarModelError(f"reward model: {path} is not a whole reward model: {(wrong or ['no scalar head'])[0]}")
    return _placed(model, device)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No bars and no report of weights that do not fit: `found` tells it, and the callers act on it."""
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        with quiet():
            yield
    finally:
        hf_logging.set_verbosity(level)


def _placed(model: Any, device: str | None) -> Any:
    import torch

    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def pad_apart(tokenizer: Any) -> Any:
    """The tokenizer, with a padding token that is not its end token.

    A model of this kind takes its number at the last token that is no padding. Every text we score ends with the end
    token, so with `pad = eos`, as many tokenizers have it, the number would come from one token too early.
    """
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        special = [i for i, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
        known = [tokenizer.bos_token_id, tokenizer.unk_token_id, *special]
        # None that text can hold: as a special token it would be cut differently once the tokenizer has been saved.
        other = next((i for i in known if i is not None and i != tokenizer.eos_token_id), None)
        if other is None:
            raise ScalarModelError("the tokenizer has no special token but its end token, so there is none to pad with")
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(other)
    return tokenizer
