"""`pretrain` makes a dense student that the engines and the other stages take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.context import Context
from pipelines.stages.pretrain import PretrainConfig, pretrain


def test_a_dense_model_has_no_router_to_balance() -> None:
    assert PretrainConfig().router == "bias_update(0.001)"
    assert PretrainConfig(architecture="qwen3").router == "frozen"


def test_widths_are_whole_heads() -> None:
    with pytest.raises(ValidationError, match="multiple of 32"):
        PretrainConfig(hidden_size=100)


def test_a_dense_student_is_made_and_learns(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    config = PretrainConfig(
        architecture="qwen3", vocab_size=300, hidden_size=32, layers=2, steps=20, accumulate=1, warmup_steps=2
    )
    made = pretrain(Context(out=tmp_path, seed=0, scratch=tmp_path / "scratch", base=tmp_path), config)
    written = json.loads((made.path / "config.json").read_text())
    assert written["model_type"] == "qwen3" and written["dtype"] == "bfloat16"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 5.7  # log 300 = 5.70 is knowing nothing
