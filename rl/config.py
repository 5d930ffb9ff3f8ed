"""The settings of GRPO. Import costs nothing: no torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.router import RouterPolicy

Loss = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
Correction = Literal["off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


class GrpoError(ValueError):
    """Data, model and settings do not fit together; the message is one line for the user."""


class GrpoSettings(BaseModel):
    """Defaults are DeepSeek-R1's where it published them (arXiv 2501.12948v2, 2.1 and 3.2.1): group 16, 32 questions a
    step, learning rate 3e-6, KL 0.001 to a reference replaced every 400 steps, temperature 1. Two differ: clip ratio
    0.2 instead of 10, and one update per rollout instead of 16 (on-policy; the clip then never acts)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(100, ge=1, description="policy updates")
    prompts_per_step: int = Field(32, ge=1, description="problems per update")
    group: int = Field(16, ge=2, description="samples per problem, the baseline of their advantages")
    minibatches: int = Field(
        1, ge=1, description="updates per batch of rollouts; above 1 the later ones are off-policy (R1: 16)"
    )
    inner_epochs: int = Field(1, ge=1, description="passes over each batch of rollouts")
    max_tokens: int = Field(1024, ge=1, description="longest completion, tokens (R1: 32,768)")
    temperature: float = Field(1.0, gt=0, description="sampling temperature; the loss uses the same")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    template: Literal["chat", "plain"] = Field("chat", description="chat: the tokenizer's template; plain: R1-Zero")

    loss: Loss = Field("grpo", description="how token losses are formed and averaged")
    level: Literal["token", "sequence"] = Field("token", description="importance ratio per token or sequence (GSPO)")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="advantage = (reward - group mean) / std of the group, of the batch, or not divided"
    )
    beta: float = Field(0.001, ge=0, description="KL coefficient (k3 in the loss); 0 = no reference model")
    ratio_weighted_kl: bool = Field(False, description="DeepSeek-V3.2: multiply the KL by the importance ratio")
    ref_every: int = Field(400, ge=0, description="the reference becomes the current policy every N steps; 0 = never")
    epsilon: float = Field(0.2, gt=0, description="clip range of the importance ratio (R1: 10)")
    epsilon_high: float | None = Field(None, gt=0, description="upper clip range (DAPO: 0.28); empty = epsilon")
    delta: float | None = Field(None, gt=1, description="two-sided clip: cap of the ratio for negative advantages")
    mask_truncated: bool = Field(False, description="leave completions cut at max_tokens out of the loss (DAPO)")
    correction: Correction = Field(
        "off", description="importance sampling of trainer against engine probabilities; costs one more forward pass"
    )
    correction_cap: float = Field(2.0, gt=0, description="largest weight of the correction")
    off_policy_mask: float | None = Field(
        None, gt=0, description="DeepSeek-V3.2: drop negative samples that moved further than this (nats per token)"
    )
    entropy_coef: float = Field(0.0, description="weight of an entropy bonus")

    correct: tuple[str, ...] = Field(
        ("math", "code"), description="reward parts that say an answer is right (value 1): what accuracy counts"
    )

    lr: float = Field(3e-6, gt=0, description="learning rate; R1 uses 3e-6 at 671B, tiny models want 1e-4 and more")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    warmup: int = Field(0, ge=0, description="steps in which lr rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    beta2: float = Field(0.95, gt=0, lt=1, description="AdamW's second beta")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 = autocast over fp32 weights; auto = bf16 on a GPU, fp32 on a CPU (faster there)"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, a third slower")
    accumulate: int = Field(1, ge=1, description="backward passes per update; more = less memory")
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens per forward pass, padding included; empty = 2048 on a CPU, 32768 on a GPU"
    )

    router: str = Field("frozen", description="router policy: frozen, bias_update(rate) or aux(coef)")
    freeze_router: bool = Field(False, description="the routers' weights do not train either")

    engine: Literal["auto", "vllm", "transformers"] = Field("auto", description="rollout engine")
    engine_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="rollout precision; auto = bfloat16 on a GPU, float32 on a CPU"
    )
    max_num_seqs: int = Field(256, ge=1, description="sequences the engine decodes at once")
    kv_cache_gib: float | None = Field(
        None, gt=0, description="the engine's cache on a CPU, GiB; empty = enough for max_num_seqs, at most 4"
    )
    gpu_memory: float = Field(0.4, gt=0, lt=1, description="share of the GPU's memory for the engine")
    canary_max_gap: float | None = Field(
        None, gt=0, description="largest log-probability gap after a sync, nats; empty = by precision (fp32: 0.001)"
    )
    save_every: int = Field(50, ge=0, description="steps between checkpoints for resuming; 0 = none")
    save_dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the saved weights")

    @field_validator("router")
    @classmethod
    def _router(cls, text: str) -> str:
        return str(RouterPolicy.parse(text))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        samples = self.prompts_per_step * self.group
        if samples % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide prompts_per_step x group = {samples}")
        if self.loss == "luspo" and self.level != "sequence":
            raise ValueError("loss: luspo needs level: sequence")
        if self.loss == "vespo" and self.correction.startswith("sequence"):
            raise ValueError("loss: vespo takes correction: off, token_truncate or token_mask")
        return self

    @property
    def policy(self) -> RouterPolicy:
        return RouterPolicy.parse(self.router, freeze_weights=self.freeze_router)

    @property
    def updates_per_rollout(self) -> int:
        """Policy updates between two generations."""
        return self.minibatches * self.inner_epochs
