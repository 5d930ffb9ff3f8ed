"""A trainer on the tiny policy, without a run around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rl.config import GrpoSettings


def make_trainer(path: Path, scratch: Path, settings: GrpoSettings, inputs: Any = None) -> Any:
    """In training mode and without gradient accumulation, as inside a step."""
    from datasets import Dataset

    from models.checkpoint import load_model, load_tokenizer
    from models.replay import RouterReplay
    from rl.grpo import _arguments, _reference
    from rl.trainer import Inputs, Trainer

    unused: Any = None
    model = load_model(path)
    trainer = Trainer(
        settings=settings,
        inputs=inputs or Inputs([], [], unused, unused, unused, unused),
        reference=_reference(settings, model, path),
        model=model,
        replay=RouterReplay(model) if settings.router_replay != "off" else None,
        args=_arguments(settings, scratch, 0),
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        processing_class=load_tokenizer(path),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = settings.accumulate
    return trainer
