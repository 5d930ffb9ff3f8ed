"""Model folders: what is written can be loaded, by us, by transformers and by what reads config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import last_checkpoint, load_model, save_model


def tiny() -> Any:
    import torch

    from models.tiny import build_config, build_model

    model = build_model(build_config(64, hidden_size=64, layers=2, heads=2, expert_size=32), seed=0)
    with torch.no_grad():
        model.model.layers[1].mlp.gate.e_score_correction_bias += torch.linspace(-0.4, 0.4, 8)
    return model


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, None, tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert loaded.config._experts_implementation == "grouped_mm"
    save_model(loaded, None, tmp_path / "b")
    again = load_model(tmp_path / "b").state_dict()
    assert all(value.equal(again[name]) for name, value in model.state_dict().items())
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert (config["topk_method"], config["scoring_func"]) == ("noaux_tc", "sigmoid")


def test_bf16_keeps_the_bias_exact(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, None, tmp_path, dtype="bfloat16")
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = load_model(tmp_path, "bfloat16")
    gate, want = loaded.model.layers[1].mlp.gate, model.model.layers[1].mlp.gate
    assert str(gate.weight.dtype) == "torch.bfloat16"
    assert gate.e_score_correction_bias.equal(want.e_score_correction_bias)
    assert load_model(tmp_path).dtype == model.dtype  # trained in fp32 whatever the file holds


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_model(tmp_path)


def test_the_last_complete_checkpoint_counts(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, text in ((2, '{"global_step": 2}'), (10, '{"global_step": 10}'), (20, '{"global_st')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-30").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
