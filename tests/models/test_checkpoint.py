"""Model folders: what is written can be loaded, by us, by transformers and by what reads config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import last_checkpoint, load_model, load_tokenizer, save_model
from models.sealed import seal


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


def test_a_tokenizer_is_saved_without_how_this_process_loaded_it(tmp_path: Path) -> None:
    """transformers would write down whether it was offline: the same stage, another artifact."""
    from models.tiny import TINY_BASE

    load_tokenizer(TINY_BASE).save_pretrained(tmp_path)
    assert not {"is_local", "local_files_only"} & json.loads((tmp_path / "tokenizer_config.json").read_text()).keys()


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_model(tmp_path)


def checkpoints(folder: Path, *steps: int) -> None:
    for step in steps:
        made = folder / f"checkpoint-{step}"
        made.mkdir(parents=True)
        (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        seal(made)


def test_the_last_sound_checkpoint_counts_and_the_others_are_told_and_removed(tmp_path: Path) -> None:
    told: list[str] = []
    assert last_checkpoint(tmp_path, told.append) is None
    checkpoints(tmp_path, 2, 10, 20, 30)
    (tmp_path / "checkpoint-20/trainer_state.json").write_text('{"global_step": 21}')
    (tmp_path / "checkpoint-30/sealed.json").unlink()
    assert last_checkpoint(tmp_path, told.append) == tmp_path / "checkpoint-10"
    unfinished, damaged = told
    assert "checkpoint-30: damaged, not used: it has no sealed.json" in unfinished
    assert "checkpoint-20: damaged, not used: trainer_state.json is not what was written" in damaged
    assert all(line.endswith("going on from checkpoint-10") for line in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]


def test_nothing_but_damaged_checkpoints_is_a_new_start(tmp_path: Path) -> None:
    told: list[str] = []
    checkpoints(tmp_path, 2)
    (tmp_path / "checkpoint-2/trainer_state.json").unlink()
    assert last_checkpoint(tmp_path, told.append) is None
    assert told[0].endswith("trainer_state.json is missing; no other checkpoint is left: starting anew")
