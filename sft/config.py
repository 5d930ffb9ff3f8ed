"""The settings of supervised fine-tuning. Import costs nothing: no torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.lora import Targets
from models.router import RouterPolicy


def rows_per_pass(batch: int) -> int:
    """The largest divisor of `batch` up to 8: few rows at a time waste less on padding."""
    return max(size for size in range(1, 9) if batch % size == 0)


class SftSettings(BaseModel):
    """Defaults are DeepSeek-R1's where it published them (arXiv 2501.12948v2, B.4.2): 2 epochs, 5e-6 falling along a
    cosine to one tenth, batch 64, context 32,768. Warm-up, betas and weight decay are not published."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    epochs: int = Field(2, ge=1, description="passes over the samples")
    lr: float = Field(5e-6, gt=0, description="peak learning rate; R1 uses 5e-6 at 671B, tiny models want about 1e-3")
    min_lr_ratio: float = Field(0.1, ge=0, le=1, description="the cosine ends at this share of lr")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps in which lr rises from 0")
    batch: int = Field(64, ge=1, description="sequences (packed rows with packing: bfd) per optimizer step")
    micro_batch: int | None = Field(
        None, ge=1, description="sequences per forward pass, a divisor of batch; empty = the largest one up to 8"
    )
    max_length: int = Field(32_768, ge=2, description="tokens; longer samples are left out and counted, never cut")
    packing: Literal["off", "bfd"] = Field(
        "off", description="bfd fills rows of max_length tokens, best with flash attention; off sorts a batch by length"
    )
    template: Literal["chat", "plain"] = Field("chat", description="chat: the tokenizer's template; plain: no turns")
    rehearsal: Literal["tokens", "logits"] = Field(
        "tokens",
        description="texts without turns (`raw`): learn their tokens, or hold the distribution that the model had",
    )
    rehearsal_weight: float = Field(1.0, gt=0, description="with rehearsal: logits, what a held token counts")
    lora_rank: int = Field(0, ge=0, description="train a LoRA adapter of this rank (docs/lora.md); 0 = all weights")
    lora_alpha: float = Field(32.0, gt=0, description="the adapter counts lora_alpha / lora_rank")
    lora_targets: Targets = Field(
        "attention", description="layers with an adapter: attention, or linear (dense MLPs and shared experts as well)"
    )
    router: str = Field("frozen", description="router policy: frozen, bias_update(rate) or aux(coef)")
    freeze_router: bool = Field(False, description="the routers' weights do not train either")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    beta2: float = Field(0.95, gt=0, lt=1, description="AdamW's second beta (0.95 in DeepSeek-V3's pre-training)")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 = autocast over fp32 weights; auto = bf16 on a GPU, fp32 on a CPU (faster there)"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, a third slower")
    save_dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the saved weights")
    save_every: int = Field(
        200, ge=0, description="optimizer steps between checkpoints for resuming, rounded up to log_every; 0 = none"
    )
    keep: int = Field(2, ge=1, description="checkpoints kept while it runs: the last one and those to fall back on")
    log_every: int = Field(10, ge=1, description="optimizer steps between logged lines")

    @field_validator("router")
    @classmethod
    def _router(cls, text: str) -> str:
        return str(RouterPolicy.parse(text))

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        if self.rehearsal == "logits" and self.packing != "off":
            raise ValueError("rehearsal: logits needs its texts apart from the chats: packing: off")
        if self.lora_rank and self.policy.kind == "aux":
            raise ValueError(f"router: {self.policy} trains the routers, with lora_rank only the adapter: use frozen")
        return self

    @property
    def per_forward(self) -> int:
        """Sequences per forward pass of a batch, which is sorted by length."""
        return self.micro_batch or rows_per_pass(self.batch)

    @property
    def save_steps(self) -> int:
        """Checkpoints come after a logged line only: the sums that the next line is made of are not saved."""
        return -(-self.save_every // self.log_every) * self.log_every

    @property
    def policy(self) -> RouterPolicy:
        return RouterPolicy.parse(self.router, freeze_weights=self.freeze_router)
