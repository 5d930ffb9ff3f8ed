"""GRPO on a LoRA adapter, through vLLM: the engine gets merged weights, a resume is exact, the saved model is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rl.test_grpo import interrupt_at, run

pytestmark = pytest.mark.xdist_group("vllm")
LORA = {"lora_rank": 4, "lr": 1e-2}


def test_the_engine_follows_the_adapter_and_the_saved_model_is_whole(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    import torch

    from models.checkpoint import load_model
    from rollout.canary import Canary

    _, lines, _ = run(policy_path, tmp_path / "out", policy_engine, steps=6, **LORA)
    assert all(line["canary_gap/max"] <= 1e-5 for line in lines), [line["canary_gap/max"] for line in lines]
    assert lines[-1]["kl"] > 0 and lines[-1]["reward"] != lines[0]["reward"]
    before, after = load_model(policy_path).state_dict(), load_model(tmp_path / "out").state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 8 and all(".self_attn." in name for name in changed)
    # The step after the last sync is in the saved weights too: loaded as they are, they are what the engine would run.
    saved = load_model(tmp_path / "out").eval()
    policy_engine.sync(saved)
    assert Canary(saved.config.vocab_size).check(saved, policy_engine).max <= 1e-5


def test_a_killed_run_goes_on_from_its_adapter_to_the_same_end(
    policy_path: Path, policy_engine: Any, tmp_path: Path
) -> None:
    import torch

    from models.checkpoint import load_model

    settings = {**LORA, "steps": 6, "save_every": 2, "ref_every": 2, "router": "bias_update(0.01)"}
    _, whole, _ = run(policy_path, tmp_path / "whole", policy_engine, scratch=tmp_path / "a", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(policy_path, tmp_path / "x", policy_engine, scratch=tmp_path / "b", log=interrupt_at(5), **settings)
    checkpoint = tmp_path / "b" / "checkpoint-4"
    assert (checkpoint / "adapter.safetensors").exists() and not (checkpoint / "model.safetensors").exists()
    assert (checkpoint / "reference" / "adapter.safetensors").exists()
    _, rest, _ = run(policy_path, tmp_path / "rest", policy_engine, scratch=tmp_path / "b", **settings)
    timeless = [{k: v for k, v in line.items() if not k.startswith("seconds/")} for line in (*whole[4:], *rest)]
    assert timeless[:2] == timeless[2:]
    first, second = (load_model(tmp_path / name).state_dict() for name in ("whole", "rest"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_second_model_stands_beside_the_policy(policy_path: Path, tmp_path: Path) -> None:
    from models.checkpoint import load_model
    from models.lora import add_adapter
    from rl.config import GrpoSettings
    from rl.grpo import _reference
    from rl.reference import AdapterReference, ModelReference

    model = add_adapter(load_model(policy_path), rank=4, alpha=8.0, targets="attention", seed=0)
    reference = _reference(GrpoSettings(lora_rank=4), model, policy_path)
    assert isinstance(reference, AdapterReference)
    kept = sum(tensor.numel() for tensor in reference._kept.values())
    assert 0 < kept < 0.2 * sum(parameter.numel() for parameter in model.parameters())
    assert isinstance(_reference(GrpoSettings(), load_model(policy_path), policy_path), ModelReference)
    assert _reference(GrpoSettings(beta=0.0), model, policy_path) is None


def test_a_router_that_would_not_train_is_refused() -> None:
    from rl.config import GrpoSettings
    from sft.config import SftSettings

    for settings in (GrpoSettings, SftSettings):
        with pytest.raises(ValueError, match=r"router: aux\(0\.001\) trains the routers"):
            settings(lora_rank=4, router="aux(0.001)")
