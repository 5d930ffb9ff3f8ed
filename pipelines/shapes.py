"""What a model costs per token, read from its `config.json` alone: parameters, active parameters, cache, attention.

Covered: DeepSeek-V2/V3 (latent attention, shared and routed experts), Qwen2/Qwen3-MoE, Mixtral, OLMoE, GLM-4.5, gpt-oss
and dense models in the shape of Llama and Qwen. Counts are exact; `tests/pipelines/test_shapes.py` compares them with
the built models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model.

    parameters: all of them. active: those that one token goes through, both embeddings included (as published).
    embedding: the input table, which is looked up, not multiplied. routed: parameters in routed experts.
    experts, per_token: routed experts of a layer and how many a token uses (0 for a dense model).
    kv_numbers: cached numbers per token, all layers. attention_width: sum over layers of heads x (key + value size).
    activations: numbers that the backward pass keeps per token, all layers. positions: longest sequence, if limited.
    """

    kind: str
    layers: int
    hidden: int
    vocab: int
    parameters: int
    active: int
    embedding: int
    routed: int
    experts: int
    per_token: int
    kv_numbers: int
    attention_width: int
    activations: int
    positions: int | None = None

    def forward_flops(self, context: float) -> float:
        """FLOPs of one token's forward pass with `context` tokens to attend to: 2 per parameter and per score."""
        return 2.0 * (self.active - self.embedding) + 2.0 * self.attention_width * context

    def told(self) -> str:
        """`671B, 37.6B active`, or one number for a dense model."""
        return short(self.parameters) + (f", {short(self.active)} active" if self.experts else "")


class UnknownShape(ValueError):
    """A config.json that lacks what is needed; the message says which key."""


def read_shape(path: Path) -> Shape:
    """The shape in a model folder. UnknownShape where there is no usable config.json."""
    try:
        return shape(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnknownShape(f"{path}: no readable config.json ({type(error).__name__})") from error


def shape(config: Config) -> Shape:
    """The sizes that a config.json stands for. UnknownShape names the key that is missing."""
    config = config.get("text_config") or config
    try:
        return _count(config)
    except (KeyError, TypeError) as error:
        raise UnknownShape(f"{config.get('model_type', 'config.json')}: {error} is missing or no number") from error


def _count(c: Config) -> Shape:
    kind, hidden, layers, vocab = str(c["model_type"]), c["hidden_size"], c["num_hidden_layers"], c["vocab_size"]
    attention, kv, width, kept = _attention(c, kind, hidden)
    experts = c.get("n_routed_experts") or c.get("num_experts") or c.get("num_local_experts") or 0
    per_token = c["num_experts_per_tok"] if experts else 0
    sparse = _sparse_layers(c, layers) if experts else 0
    dense = layers - sparse
    router, shared, expert, expert_size, shared_size = _moe(c, kind, hidden, experts)
    mlp = 3 * hidden * c["intermediate_size"]
    table = vocab * hidden
    outside = table * (1 if c.get("tie_word_embeddings") else 2) + hidden  # and the last norm
    common = outside + layers * (attention + 2 * hidden) + dense * mlp + sparse * (router + shared)
    routed = sparse * experts * expert
    wide = dense * c["intermediate_size"] + sparse * (per_token * expert_size + shared_size)
    # Kept for the backward pass, per layer: the residual stream twice with both normed copies, what attention keeps,
    # and three vectors (gate, up, product) of each feed-forward width.
    activations = layers * (4 * hidden + kept) + 3 * wide
    return Shape(
        kind,
        layers,
        hidden,
        vocab,
        parameters=common + routed,
        active=common + sparse * per_token * expert,
        embedding=0 if c.get("tie_word_embeddings") else table,
        routed=routed,
        experts=experts,
        per_token=per_token,
        kv_numbers=layers * kv,
        attention_width=layers * width,
        activations=activations,
        positions=c.get("max_position_embeddings"),
    )


def _attention(c: Config, kind: str, hidden: int) -> tuple[int, int, int, int]:
    """Of one layer: parameters, cached numbers per token, heads x (key + value size), numbers kept for backward."""
    heads = c["num_attention_heads"]
    if c.get("kv_lora_rank"):  # latent attention (arXiv 2405.04434, 2.1): the cache holds latent and rope key only
        nope, rope, value, latent = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
        query, q_rank = heads * (nope + rope), c.get("q_lora_rank")
        q = hidden * q_rank + q_rank + q_rank * query if q_rank else hidden * query
        kv = hidden * (latent + rope) + latent + latent * heads * (nope + value)
        parameters = q + kv + heads * value * hidden
        kept = query + heads * (nope + rope + 2 * value) + latent + rope + (q_rank or 0)
        return parameters, latent + rope, heads * (nope + rope + value), kept
    head = c.get("head_dim") or hidden // heads
    groups = c.get("num_key_value_heads") or heads
    parameters = hidden * head * (heads + 2 * groups) + heads * head * hidden
    bias = c.get("attention_bias", kind == "gpt_oss") or c.get("qkv_bias", kind in ("qwen2", "qwen2_moe"))
    parameters += head * (heads + 2 * groups) if bias else 0
    if kind == "gpt_oss":
        parameters += hidden + heads  # bias of the output, a sink for each head
    if kind in ("qwen3", "qwen3_moe") or (kind == "glm4_moe" and c.get("use_qk_norm")):
        parameters += 2 * head
    if kind == "olmoe":
        parameters += head * (heads + groups)
    return parameters, 2 * groups * head, 2 * heads * head, head * (2 * heads + 2 * groups)


def _moe(c: Config, kind: str, hidden: int, experts: int) -> tuple[int, int, int, int, int]:
    """Of one layer: parameters of router, shared experts and one routed expert; widths of one routed and the shared."""
    if not experts:
        return 0, 0, 0, 0, 0
    size = c.get("moe_intermediate_size") or c["intermediate_size"]
    shared_size = c.get("shared_expert_intermediate_size") or (c.get("n_shared_experts") or 0) * size
    shared = 3 * hidden * shared_size + (hidden if kind == "qwen2_moe" else 0)  # its gate
    router, expert = hidden * experts, 3 * hidden * size
    if kind == "gpt_oss":
        router, expert = router + experts, expert + 2 * size + hidden  # biases
    return router, shared, expert, size, shared_size


def _sparse_layers(c: Config, layers: int) -> int:
    """Layers with experts: all but the first dense ones, every `decoder_sparse_step`-th, and not the listed ones."""
    every, dense = c.get("decoder_sparse_step") or 1, set(c.get("mlp_only_layers") or ())
    first = c.get("first_k_dense_replace") or 0
    return sum(1 for i in range(first, layers) if (i + 1) % every == 0 and i not in dense)


def short(count: float) -> str:
    """A count in three digits: 671B, 37.6B, 1.31M, 845k."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return f"{count:.0f}"


_DEEPSEEK_V2_LITE: Config = {
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "first_k_dense_replace": 1,
    "num_attention_heads": 16,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
_DEEPSEEK_V3: Config = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
}
_QWEN3_30B: Config = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}
_MIXTRAL: Config = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}


def _dense(kind: str, hidden: int, wide: int, layers: int, heads: int, groups: int, vocab: int, tied: bool) -> Config:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
    }


_QWEN25_1_5B = _dense("qwen2", 1536, 8960, 28, 12, 2, 151936, tied=True)
_QWEN25_7B = _dense("qwen2", 3584, 18944, 28, 28, 4, 152064, tied=False)
_QWEN25_14B = _dense("qwen2", 5120, 13824, 48, 40, 8, 152064, tied=False)
_QWEN25_32B = _dense("qwen2", 5120, 27648, 64, 40, 8, 152064, tied=False)
_LLAMA31_8B = _dense("llama", 4096, 14336, 32, 32, 8, 128256, tied=False)
_LLAMA33_70B = _dense("llama", 8192, 28672, 80, 64, 8, 128256, tied=False)
KNOWN: Mapping[str, Config] = {
    "deepseek-ai/DeepSeek-V3": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-V3-Base": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1-Zero": _DEEPSEEK_V3,
    "Qwen/Qwen3-30B-A3B": _QWEN3_30B,
    "Qwen/Qwen3-30B-A3B-Base": _QWEN3_30B,
    "deepseek-ai/DeepSeek-V2-Lite": _DEEPSEEK_V2_LITE,
    "Qwen/Qwen2.5-Math-1.5B": _QWEN25_1_5B,
    "Qwen/Qwen2.5-7B": _QWEN25_7B,
    "Qwen/Qwen2.5-Math-7B": _QWEN25_7B,
    "Qwen/Qwen2.5-14B": _QWEN25_14B,
    "Qwen/Qwen2.5-32B": _QWEN25_32B,
    "mistralai/Mixtral-8x7B-v0.1": _MIXTRAL,
    "meta-llama/Llama-3.1-8B": _LLAMA31_8B,
    "meta-llama/Llama-3.3-70B-Instruct": _LLAMA33_70B,
}
"""Hub ids whose sizes are known without a download; any other model is read from its folder."""
