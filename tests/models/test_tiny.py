"""The shipped base and the shape it has: what the README says of them is true."""

import json

import pytest

from models.checkpoint import load_model, load_tokenizer
from models.router import BIAS
from models.tiny import TINY_BASE, build_config, build_dense_config, build_model


def test_shape_is_deepseek_v3_in_small():
    config = build_config(512)
    assert config.model_type == "deepseek_v3" and config.first_k_dense_replace == 1
    assert (config.n_shared_experts, config.n_routed_experts, config.num_experts_per_tok) == (1, 8, 2)
    assert config.kv_lora_rank + config.qk_rope_head_dim == 576


def test_same_seed_same_weights_without_touching_the_global_generator():
    import torch

    before = torch.random.get_rng_state()
    one, two, other = (build_model(build_config(300, layers=2), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(("hidden", "heads"), [(64, (2, 1)), (128, (4, 2)), (96, (3, 3))])
def test_dense_students_are_qwen3_with_heads_that_vllm_takes_on_a_cpu(hidden, heads):
    config = build_dense_config(300, hidden_size=hidden, layers=2)
    model = build_model(config, seed=1)
    assert config.model_type == "qwen3" and config.head_dim == 32
    assert (config.num_attention_heads, config.num_key_value_heads) == heads
    assert not any("experts" in name for name, _ in model.named_parameters())


@pytest.fixture(scope="module")
def base():
    return load_model(TINY_BASE)


def test_shipped_base_is_small_enough_and_bf16():
    config = json.loads((TINY_BASE / "config.json").read_text())
    assert sum(file.stat().st_size for file in TINY_BASE.iterdir()) <= 10 * 2**20
    assert config["dtype"] == "bfloat16" and config["topk_method"] == "noaux_tc"


def test_shipped_base_has_one_to_six_million_parameters_and_trained_selection_biases(base):
    assert 1e6 < base.num_parameters() < 6e6
    biases = {name: buffer for name, buffer in base.named_buffers() if name.endswith(BIAS)}
    assert len(biases) == 2 and all(bias.abs().max() > 0 for bias in biases.values())


def test_shipped_base_works_a_held_out_sum_out_but_knows_no_chat(base):
    tokenizer = load_tokenizer(TINY_BASE)
    prompt = "Problem: Compute 6*7+5-3.\nWork: "
    ids = tokenizer.encode(prompt, add_special_tokens=False, return_tensors="pt")
    bos = ids.new_tensor([[tokenizer.bos_token_id]])
    import torch

    out = base.generate(torch.cat([bos, ids], 1), max_new_tokens=60, do_sample=False)
    text = tokenizer.decode(out[0], skip_special_tokens=True)
    assert "6*7=42, 42+5=47, 47-3=44" in text and "Answer: 44" in text
    embeddings = base.get_input_embeddings().weight
    assert embeddings[tokenizer.convert_tokens_to_ids("<think>")].norm() < 0.5 * embeddings.norm(dim=1).median()
