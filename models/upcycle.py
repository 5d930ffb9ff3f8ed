"""Sparse upcycling (arXiv 2212.05055): a dense model becomes a Mixture-of-Experts that starts out as the same function.

Every layer's FFN is copied into each of N experts, and a router, small and random, is put before them. The weights of
the chosen k experts are divided by their sum, and all experts are equal, so the first output is the dense one whatever
the router says. Experts part as soon as they train: each sees other tokens.
"""

from __future__ import annotations

from typing import Any

TARGETS = {"llama": "mixtral", "mistral": "mixtral", "qwen3": "qwen3_moe"}
"""Dense architecture -> the MoE one with the same attention: Mixtral's has no norm on queries and keys, Qwen3's has."""

ROUTER_STD = 0.02
"""Standard deviation of the fresh router: `initializer_range` of both architectures."""

_KEPT = [
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps"),
    *("rope_parameters", "tie_word_embeddings", "attention_dropout", "sliding_window"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
]


class UpcycleError(ValueError):
    """A model that cannot be upcycled; the message is one line for the user."""


def upcycle(dense: Any, *, experts: int, top_k: int, seed: int = 0) -> Any:
    """The MoE of a dense `transformers` model, in its precision and on its device; `dense` stays as it is.

    `experts` copies of each FFN, `top_k` of them per token; the routers are drawn from `seed`. UpcycleError for an
    architecture without a counterpart, or one whose biases the counterpart does not have.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = upcycled_config(dense.config, experts=experts, top_k=top_k)
    with torch.device("meta"):
        sparse = AutoModelForCausalLM.from_config(config, dtype=dense.dtype)
    sparse.to_empty(device=dense.device)
    state = dict(dense.state_dict())
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Any] = {}
    for name, old in sparse.state_dict().items():
        prefix, _, part = name.rpartition(".mlp.")
        if part == "gate.weight":
            made[name] = (torch.randn(old.shape, generator=generator) * ROUTER_STD).to(old)
        elif part == "experts.gate_up_proj":
            one = torch.cat([state[f"{prefix}.mlp.{half}_proj.weight"] for half in ("gate", "up")])
            made[name] = one.expand(old.shape)
        elif part == "experts.down_proj":
            made[name] = state[f"{prefix}.mlp.down_proj.weight"].expand(old.shape)
        else:
            made[name] = state[name]
    sparse.load_state_dict(made)
    sparse.tie_weights()
    _fill_rotary(sparse, dense)
    sparse.generation_config = dense.generation_config
    return sparse.train(dense.training)


def upcycled_config(config: Any, *, experts: int, top_k: int) -> Any:
    """The config of the MoE; UpcycleError where there is none."""
    from transformers import AutoConfig

    target = TARGETS.get(config.model_type)
    if target is None:
        raise UpcycleError(f"a model of type {config.model_type!r} cannot be upcycled, only {', '.join(TARGETS)}")
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise UpcycleError(f"this {config.model_type} has biases, which {target} has not")
    fields = {name: getattr(config, name) for name in _KEPT if hasattr(config, name)}
    fields |= {"num_experts_per_tok": top_k, "num_local_experts": experts}
    if target == "qwen3_moe":
        fields |= {"num_experts": experts, "moe_intermediate_size": config.intermediate_size, "norm_topk_prob": True}
    return AutoConfig.for_model(target, **fields)


def _fill_rotary(sparse: Any, dense: Any) -> None:
    """Rotary frequencies are computed, not stored: they are the dense model's."""
    found = dict(dense.named_buffers())
    for name, buffer in sparse.named_buffers():
        if name in found:
            buffer.copy_(found[name])
