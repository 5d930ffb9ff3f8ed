"""The settings of reward-model training. Import costs nothing: no torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sft.config import rows_per_pass


class RewardModelSettings(BaseModel):
    """Defaults are DeepSeek-R1's where it published them (arXiv 2501.12948v2, helpful and safety reward models): batch
    256, 6e-6, one epoch, 8,192 tokens. Schedule, warm-up, betas and weight decay are not published."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    judges: Literal["auto", "answer", "whole"] = Field(
        "auto",
        description="what is judged: answer = the text in <answer>, thinking cut out; whole = thinking and answer; "
        "auto = answer for pairs, whole for labels (R1's helpful and safety models)",
    )
    holdout: float = Field(
        0.1, ge=0, lt=1, description="share of the prompts kept out for the held-out numbers; not used with input dev"
    )
    epochs: int = Field(1, ge=1, description="passes over the preferences")
    lr: float = Field(6e-6, gt=0, description="peak learning rate; R1 uses 6e-6 at 671B, tiny models want about 1e-3")
    min_lr_ratio: float = Field(0.1, ge=0, le=1, description="the cosine ends at this share of lr")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps in which lr rises from 0")
    batch: int = Field(256, ge=1, description="pairs, or labelled completions, per optimizer step")
    micro_batch: int | None = Field(
        None, ge=1, description="of these per forward pass, a divisor of batch; empty = the largest one up to 8"
    )
    max_length: int = Field(
        8_192, ge=2, description="tokens; longer texts are left out of training, never cut (scoring has no such limit)"
    )
    template: Literal["chat", "plain"] = Field("chat", description="chat: the tokenizer's template; plain: no turns")
    freeze_router: bool = Field(False, description="the routers' weights do not train (their biases never do)")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
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

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self

    @property
    def per_forward(self) -> int:
        """Pairs or completions per forward pass."""
        return self.micro_batch or rows_per_pass(self.batch)

    @property
    def save_steps(self) -> int:
        """Checkpoints come after a logged line only: the sums that the next line is made of are not saved."""
        return -(-self.save_every // self.log_every) * self.log_every
