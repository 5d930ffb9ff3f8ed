"""The counts behind `r1 plan` are those of the models that get built, and those that were published."""

from __future__ import annotations

import pytest

from models.tiny import TINY_BASE
from models.zoo import _COMMON, ARCHITECTURES
from pipelines.shapes import KNOWN, UnknownShape, read_shape, shape, short

# Totals and active parameters as published: arXiv 2412.19437, Qwen3's and Qwen2.5's model cards, arXiv
# 2401.04088, arXiv 2407.21783.
PUBLISHED = {
    "deepseek-ai/DeepSeek-V3": (671e9, 37e9),
    "Qwen/Qwen3-30B-A3B": (30.5e9, 3.3e9),
    "mistralai/Mixtral-8x7B-v0.1": (46.7e9, 12.9e9),
    "Qwen/Qwen2.5-Math-1.5B": (1.54e9, 1.54e9),
    "Qwen/Qwen2.5-7B": (7.61e9, 7.61e9),
    "Qwen/Qwen2.5-14B": (14.7e9, 14.7e9),
    "Qwen/Qwen2.5-32B": (32.5e9, 32.5e9),
    "meta-llama/Llama-3.1-8B": (8.03e9, 8.03e9),
    "meta-llama/Llama-3.3-70B-Instruct": (70.6e9, 70.6e9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    total, active = PUBLISHED[name]
    found = shape(KNOWN[name])
    assert found.parameters == pytest.approx(total, rel=0.009)  # a card's 32.5B is 32.76B
    assert found.active == pytest.approx(active, rel=0.02)


def test_published_size_of_v2_lite_which_leaves_the_input_table_out() -> None:
    found = shape(KNOWN["deepseek-ai/DeepSeek-V2-Lite"])  # 15.7B, 2.4B active (arXiv 2405.04434, appendix B)
    assert found.parameters == pytest.approx(15.7e9, rel=0.001)
    assert found.active - found.embedding == pytest.approx(2.4e9, rel=0.03)


def test_every_known_architecture_is_counted_to_the_last_parameter() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for name, fields in ARCHITECTURES.items():
        config = AutoConfig.for_model(name, **(_COMMON | fields))
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(config)
        assert shape(config.to_dict()).parameters == built.num_parameters(), name


def test_a_dense_student_is_counted_before_it_is_made() -> None:
    from models.tiny import build_dense_config, build_model, dense_sizes

    sizes = dense_sizes(300, hidden_size=96, layers=2)
    assert shape(sizes).parameters == build_model(build_dense_config(300, hidden_size=96, layers=2)).num_parameters()


def test_the_shipped_base_is_counted_from_its_folder() -> None:
    from safetensors import safe_open

    with safe_open(TINY_BASE / "model.safetensors", "pt") as file:
        sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    held = 0
    for name, size in sizes.items():
        count = 1
        for n in size:
            count *= n
        held += 0 if "e_score_correction_bias" in name else count
    assert read_shape(TINY_BASE).parameters == held


def test_cache_of_latent_and_of_grouped_attention() -> None:
    v3, llama = shape(KNOWN["deepseek-ai/DeepSeek-V3"]), shape(KNOWN["meta-llama/Llama-3.1-8B"])
    assert v3.kv_numbers * 2 == 70_272  # 70.3 KB in bf16 (512 + 64 numbers, 61 layers; arXiv 2412.19437)
    assert llama.kv_numbers * 2 == 131_072  # 8 heads of 128, keys and values, 32 layers


def test_flops_per_token_of_v3() -> None:
    # "250 GFLOPs per token" at 4K context in training, three forward passes' worth (arXiv 2505.09343, table 2).
    v3 = shape(KNOWN["deepseek-ai/DeepSeek-V3"])
    assert 3 * v3.forward_flops(4096 / 2) == pytest.approx(250e9, rel=0.03)


def test_a_config_without_sizes_is_named() -> None:
    with pytest.raises(UnknownShape, match="hidden_size"):
        shape({"model_type": "mamba"})


def test_short_counts() -> None:
    assert [short(n) for n in (671e9, 37.55e9, 1_308_000, 999_700, 12)] == ["671B", "37.5B", "1.31M", "1M", "12"]
