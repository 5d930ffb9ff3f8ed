"""What SFT and reward-model training tell transformers' `Trainer` alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sft.config import SftSettings
    from sft.reward_config import RewardModelSettings


def trainer_arguments(config: SftSettings | RewardModelSettings, scratch: str | Path, seed: int) -> dict[str, Any]:
    """Keyword arguments of `TrainingArguments`: schedule, batches, precision, checkpoints; no bars, no trackers."""
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(scratch),
        "num_train_epochs": config.epochs,
        "learning_rate": config.lr,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": config.min_lr_ratio},
        "warmup_steps": config.warmup,
        "per_device_train_batch_size": config.per_forward,
        "gradient_accumulation_steps": config.batch // config.per_forward,
        "optim": "adamw_torch_fused",
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "bf16" or (config.precision == "auto" and cuda),
        "gradient_checkpointing": config.gradient_checkpointing,
        "save_strategy": "steps" if config.save_every else "no",
        "save_steps": config.save_steps or 1,
        "save_total_limit": config.keep,
        "logging_steps": config.log_every,
        "seed": seed,
        "data_seed": seed,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": cuda,
        "report_to": "none",
        "disable_tqdm": True,
    }
