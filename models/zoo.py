"""Small random models of the architectures that `r1 doctor --model random:NAME` checks: real code paths, toy sizes.

Each keeps what makes its architecture different (latent attention, group-limited routing, selection biases, shared
experts, attention sinks, partial rotary, tied embeddings), because that is what gets lost between trainer and engine.
Sizes that are not free: vLLM's CPU attention wants heads of 32 at least, for MLA `kv_lora_rank` 512 with
`qk_rope_head_dim` 64, and its bfloat16 expert kernels multiples of 32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 256
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_MLA: dict[str, Any] = {
    "kv_lora_rank": 512,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 64,
    "v_head_dim": 32,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
}
_EIGHT_EXPERTS: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "deepseek_v3": _MLA
    | {"n_shared_experts": 1, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5}
    | {"topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    "deepseek_v2": _MLA
    | {
        "num_attention_heads": 8,  # enough for vLLM to keep its attention latent, which of four heads it expands
        "num_key_value_heads": 8,
        "n_shared_experts": 2,
        "n_group": 4,
        "topk_group": 2,
        "topk_method": "group_limited_greedy",
        "routed_scaling_factor": 1.5,
    },
    "qwen3_moe": _EIGHT_EXPERTS | {"head_dim": 32, "norm_topk_prob": True},
    "qwen2_moe": _EIGHT_EXPERTS
    | {"num_attention_heads": 2, "shared_expert_intermediate_size": 128, "norm_topk_prob": False},
    "mixtral": {"head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 2},
    "olmoe": {"num_attention_heads": 2, "intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2},
    "glm4_moe": {
        "head_dim": 32,
        "moe_intermediate_size": 64,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "use_qk_norm": True,
        "attention_bias": True,
    },
    "gpt_oss": {
        "head_dim": 64,
        "intermediate_size": 64,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 4,
        "sliding_window": 16,
    },
    "llama": {"head_dim": 32},
    "qwen3": {"head_dim": 32, "tie_word_embeddings": True},
}
"""Name (the `model_type` of config.json) -> the fields that differ from the common small size."""


def build_random(architecture: str, *, seed: int = 0) -> Any:
    """A model of the named architecture in float32 with every tensor random, norms, biases and buffers included.

    Freshly initialised models have norms of 1 and biases of 0, which any two programs agree on.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, **(_COMMON | ARCHITECTURES[architecture]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).float().eval()
    update_all_tensors(model, 0.05, seed=seed)
    return model


def write_random(architecture: str, folder: str | Path, *, seed: int = 0) -> None:
    """Write `build_random`'s model as a model folder, without a tokenizer."""
    from models.checkpoint import save_model

    save_model(build_random(architecture, seed=seed), None, folder)


def update_all_tensors(model: Any, scale: float, *, seed: int, relative: bool = False) -> int:
    """Add normal noise to every floating-point tensor of the state; returns how many tensors that are.

    The noise has standard deviation `scale`, or `relative`: `scale` times the tensor's root mean square (0.01 at
    least, for tensors of zeros), which a trained model's magnitudes survive. Buffers such as
    `e_score_correction_bias` are part of the state, rotary frequencies are not.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if not tensor.is_floating_point() or tensor.data_ptr() in seen:  # tied tensors come twice
                continue
            seen.add(tensor.data_ptr())
            size = max(float(tensor.float().square().mean().sqrt()), 0.01) if relative else 1.0
            noise = torch.randn(tensor.shape, generator=generator) * (scale * size)
            tensor.add_(noise.to(device=tensor.device, dtype=tensor.dtype))
    return len(seen)
