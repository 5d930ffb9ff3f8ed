"""The tiny models: the DeepSeek-V3 that ships with the project (MLA, MoE layers with a shared expert), dense students.

Everything a 671B DeepSeek-V3 has is here in small (arXiv 2412.19437, section 2.1): latent attention with a decoupled
rope key, sigmoid router scores, `e_score_correction_bias` for selection only, renormalised weights times
`routed_scaling_factor` 2.5. Two sizes are not free: vLLM's CPU attention for MLA needs `kv_lora_rank` 512 and
`qk_rope_head_dim` 64. The students of distillation are dense, in Qwen3's shape, as R1's students are Qwen and Llama.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import DeepseekV3Config, PreTrainedModel, Qwen3Config

TINY_BASE = Path(__file__).parent / "tiny_base"
"""The shipped, pre-trained base (`source: tiny-moe`), made by `pipelines/recipes/tiny_base.yaml`."""

# vLLM reads these two from config.json and fails without them; transformers has no such fields and drops them.
ROUTER_FIELDS = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}


def build_config(
    vocab_size: int,
    *,
    hidden_size: int = 128,
    layers: int = 3,
    heads: int = 4,
    experts: int = 8,
    experts_per_token: int = 2,
    expert_size: int = 64,
    max_positions: int = 512,
    **overrides: Any,
) -> DeepseekV3Config:
    """The configuration of a tiny DeepSeek-V3; `overrides` go to `DeepseekV3Config` as they are."""
    from transformers import DeepseekV3Config

    fields: dict[str, Any] = dict(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        moe_intermediate_size=expert_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        n_shared_experts=1,
        n_routed_experts=experts,
        num_experts_per_tok=experts_per_token,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        first_k_dense_replace=1,
        q_lora_rank=None,
        kv_lora_rank=512,
        qk_nope_head_dim=16,
        qk_rope_head_dim=64,
        v_head_dim=16,
        max_position_embeddings=max_positions,
        rope_theta=10_000.0,
        initializer_range=0.02,
        tie_word_embeddings=False,
        **ROUTER_FIELDS,
    )
    return DeepseekV3Config(**(fields | overrides))


def dense_sizes(vocab_size: int, *, hidden_size: int, layers: int) -> dict[str, Any]:
    """What a dense Qwen3's config.json says of its sizes: heads of 32 (vLLM's least on a CPU), two to a cached head."""
    heads = hidden_size // 32
    return {
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else heads,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }


def build_dense_config(vocab_size: int, *, hidden_size: int = 128, layers: int = 4, **overrides: Any) -> Qwen3Config:
    """The configuration of a tiny dense Qwen3; `overrides` go to `Qwen3Config` as they are."""
    from transformers import Qwen3Config

    sizes = dense_sizes(vocab_size, hidden_size=hidden_size, layers=layers)
    return Qwen3Config(**(sizes | {"rope_theta": 10_000.0, "initializer_range": 0.02} | overrides))


def build_model(config: DeepseekV3Config | Qwen3Config, *, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model in float32, the same for the same seed."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).float()
        return model
