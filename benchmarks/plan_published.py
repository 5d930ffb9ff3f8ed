"""`r1 plan`'s arithmetic against GPU hours that were published. Runs in a second, needs nothing but the project.

    python benchmarks/plan_published.py

One set of constants for all rows (`pipelines.cost.Assumptions`). What a paper does not publish is an assumption, named
in the row's note and never fitted to its hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.cost import Assumptions, Lengths, Rollout, rollout_seconds, train_seconds
from pipelines.hardware import Hardware
from pipelines.shapes import KNOWN, Shape, shape

ASSUME = Assumptions()
V3 = shape(KNOWN["deepseek-ai/DeepSeek-V3-Base"])
# arXiv 2405.04434, 3.1.2, and 2401.02954, table 2.
V2_CONFIG: Mapping[str, Any] = {
    "model_type": "deepseek_v2",
    "hidden_size": 5120,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 60,
    "first_k_dense_replace": 1,
    "num_attention_heads": 128,
    "n_routed_experts": 160,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
DENSE_67B_CONFIG: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 22016,
    "num_hidden_layers": 95,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 102400,
}


@dataclass(frozen=True)
class Line:
    """One published figure in device hours, what the model says, and what the row rests on."""

    name: str
    published: float
    hours: float
    note: str
    held_out: bool = True

    @property
    def error(self) -> float:
        return self.hours / self.published - 1


def pretraining(model: Shape, tokens: float, length: int) -> float:
    """H800 hours to read `tokens` in sequences of `length`."""
    return train_seconds(model, Hardware("h800", 1), tokens, length / 2, ASSUME) / 3600


def rl(steps: int, limit: int, assume: Assumptions = ASSUME) -> float:
    """H800 hours of R1's GRPO on 512 devices: 8,192 outputs a rollout, 16 updates, reference and old policy."""
    hardware, lengths = Hardware("h800", 512), Lengths(assume.mean(limit), limit)
    drawn = rollout_seconds(V3, hardware, Rollout(8192, lengths, assume.prompt), assume)
    tokens = 8192 * (assume.prompt + lengths.mean)
    trained = train_seconds(V3, hardware, tokens, assume.prompt + lengths.context, assume, passes=5)
    return steps / 16 * (drawn + trained) * hardware.count / 3600


def sft() -> float:
    """H800 hours of two epochs over R1's 804,745 samples of 5,355 tokens (arXiv 2501.12948v2, B.3.3 and B.4.2)."""
    lengths = Lengths(5355, 32_768)
    return train_seconds(V3, Hardware("h800", 1), 2 * 804_745 * 5355, lengths.context, ASSUME) / 3600


def lines() -> list[Line]:
    """Every comparison, the ones that fail included."""
    context = pretraining(V3, 1000 * 1920 * 32_768, 32_768) + pretraining(V3, 1000 * 480 * 131_072, 131_072)
    reading = pretraining(V3, 14.8e12, 4096)
    zero = rl(8200, 32_768) + rl(2200, 65_536)
    return [
        Line("V3 pre-training", 2_664_000, reading, "the utilisation is this run's own", held_out=False),
        Line("V3 context extension", 119_000, context, "2 x 1,000 steps at 32K and 128K"),
        Line("V3 in all", 2_788_000, reading + context, "post-training (5,000) left out", held_out=False),
        Line("R1-Zero", 101_000, zero, "10,400 steps; 8,200 to 32K, then 64K"),
        Line("R1, stage 1 of 2,500 steps", 41_000, rl(2500 + 1700, 32_768) + sft(), "one epoch of its 80k prompts"),
        Line("R1, stage 1 of 4,000 steps", 41_000, rl(4000 + 1700, 32_768) + sft(), "1.6 epochs, as R1-Zero"),
        Line("67B dense, 1T tokens", 300_600, pretraining(shape(DENSE_67B_CONFIG), 1e12, 4096), "another model"),
        Line("V2, 1T tokens", 172_800, pretraining(shape(V2_CONFIG), 1e12, 4096), "another model, an earlier system"),
    ]


def main() -> None:
    print(f"{'run':<28}{'published':>11}{'plan':>11}{'error':>8}   note")
    for line in lines():
        note = line.note + ("" if line.held_out else " *")
        print(f"{line.name:<28}{line.published:>11,.0f}{line.hours:>11,.0f}{line.error:>+8.0%}   {note}")
    print("* not a test: the training utilisation was measured on it. H800 hours; published: arXiv 2412.19437 table 1,")
    print(
        "  2501.12948v2 B.4.4, 2405.04434 3.2.3. Not published, assumed for all: lengths (a mean of 16.3% of the limit,"
    )
    print("  exponential), 122 tokens of prompt, rollouts in bf16; R1's steps in stage 1 are in its rows.")
    half, double = (rl(8200, 32_768, a) + rl(2200, 65_536, a) for a in (Assumptions(fill=0.08), Assumptions(fill=0.33)))
    print(f"R1-Zero with answers half and twice as long: {half:,.0f} and {double:,.0f}")


if __name__ == "__main__":
    main()
