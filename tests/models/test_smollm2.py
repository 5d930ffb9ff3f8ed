"""SmolLM2 from its package: whole, with its own chat format, and equal to its upcycled self."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models import smollm2
from models.chat import render_completion, render_prompt

needs_package = pytest.mark.skipif(smollm2.missing() is not None, reason=str(smollm2.missing()))
TEXT = "The sun rises in the east and sets in the west. Water freezes when it is cold, and ice melts in the sun."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smollm2")
    smollm2.write_smollm2(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from models.checkpoint import load_tokenizer

    return load_tokenizer(folder)


@needs_package
def test_the_chat_is_chatml_with_the_published_system_text(tokenizer: Any) -> None:
    """The format of HuggingFaceTB/SmolLM2-135M-Instruct; the model writes `<|im_end|>` to end its turn."""
    plain = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(render_prompt(tokenizer, {"prompt": "Hi", "system": "Be brief."})) == plain
    default = plain.replace("Be brief.", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    assert tokenizer.decode(render_prompt(tokenizer, {"prompt": "Hi"})) == default
    assert tokenizer.convert_ids_to_tokens(render_completion(tokenizer, "Yes")) == ["Yes", "<|im_end|>"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)


@needs_package
def test_digits_stand_alone_and_text_comes_back(tokenizer: Any) -> None:
    assert tokenizer.tokenize("In 1984, 12") == ["In", "Ġ", "1", "9", "8", "4", ",", "Ġ", "1", "2"]
    for text in (TEXT, "def f(x):\n    return x  # 2", "<think>1+2=3</think><answer>3</answer>", "naïve 日本"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@needs_package
def test_it_speaks_english_and_equals_its_upcycled_self(folder: Path, tokenizer: Any) -> None:
    """All thirty layers. Log-probabilities carry the rounding of thirty layers: 1e-5 on average, not at worst."""
    import torch

    from models.checkpoint import load_model
    from models.upcycle import upcycle

    dense = load_model(folder, device="cpu").eval()
    assert dense.num_parameters() == 134_515_008 and not hasattr(dense.config, "quantization_config")
    sparse = upcycle(dense, experts=4, top_k=2)
    assert sparse.config.model_type == "mixtral" and sparse.num_parameters() == 373_462_848
    ids = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        said = [model(input_ids=ids).logits[0, :-1].log_softmax(-1) for model in (dense, sparse)]
    chosen = [logprobs.gather(1, ids[0, 1:, None]) for logprobs in said]
    assert float(-chosen[0].mean()) < 4, "nats per token; a model without weights has 10.8"
    assert float((said[0].exp() - said[1].exp()).abs().max()) < 1e-5
    assert float((chosen[0] - chosen[1]).abs().mean()) < 1e-5


def test_a_missing_package_is_one_line_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.stages.model import ModelConfig, _check, _files

    monkeypatch.setattr(smollm2, "PACKAGE", "no-such-package")
    config = ModelConfig(source="smollm2-135m")
    assert list(_check(config)) == ["source: smollm2-135m needs no-such-package: run `make smollm2`"]
    assert list(_files(config)) == []
