"""The sync carries everything, and the canary notices when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from models.zoo import update_all_tensors
from rollout import reload, vllm_engine
from rollout.canary import Canary, CanaryFailure
from rollout.weights import checkpoint_state

pytestmark = pytest.mark.xdist_group("vllm")


@pytest.mark.parametrize("in_place", [True, False])
def test_sync_carries_all_tensors_over_repeated_updates(
    engine: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """Both ways: as on a CPU, and by vLLM's reload as on a GPU."""
    monkeypatch.setattr(reload, "fills_in_place", lambda runner: in_place)
    canary = Canary(160, texts=[[5, 6, 7, 8]])
    for seed in range(4):
        update_all_tensors(tiny_model, 0.05, seed=seed)
        assert canary.measure(tiny_model, engine, canary.probes[0]).mean > 0.01, "the update must matter"
        engine.sync(tiny_model)
        gap = canary.check(tiny_model, engine, step=seed)
        assert gap.max <= 1e-4 and gap.rounds == 1 and gap.tokens == 4 * 47 + 3


def test_state_is_in_checkpoint_format_with_buffers(tiny_model: Any) -> None:
    names = set(checkpoint_state(tiny_model))
    assert "model.layers.1.mlp.gate.e_score_correction_bias" in names
    assert "model.layers.1.mlp.experts.7.down_proj.weight" in names


@pytest.mark.parametrize("scale", [0.0, 0.02])
def test_canary_stops_at_the_first_sync_without_expert_repacking(
    engine: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Even with unchanged weights: the packed experts' memory is overwritten with unpacked ones."""
    canary = Canary(160)
    canary.check(tiny_model, engine)
    monkeypatch.setattr(reload, "fills_in_place", lambda runner: False)
    monkeypatch.setattr(reload, "reset_moe_kernels", lambda model: 0)
    update_all_tensors(tiny_model, scale, seed=0)
    engine.sync(tiny_model)
    with pytest.raises(CanaryFailure, match=r"at step 1: .*disagree.*allowed 0.001 max") as failure:
        canary.check(tiny_model, engine, step=1)
    assert failure.value.gap.rounds == 3 and failure.value.gap.max > 1e-3


@pytest.mark.parametrize(
    "lost", ["model.layers.2.mlp.experts.5.down_proj.weight", "model.layers.0.self_attn.o_proj.weight"]
)
def test_a_state_that_lacks_something_packed_is_refused(
    engine: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """What memory held would be taken for weights otherwise."""
    state = checkpoint_state(tiny_model)
    del state[lost]
    monkeypatch.setattr(vllm_engine, "checkpoint_state", lambda model: state)
    layer = ".".join(lost.split(".")[:4])
    with pytest.raises(ValueError, match=rf"{layer}.*the new weights lack a part of it"):
        engine.sync(tiny_model)


@pytest.mark.parametrize("fault", ["bias buffer", "one expert", "absorbed MLA"])
def test_canary_notices_a_planted_fault(engine: Any, tiny_model: Any, fault: str) -> None:
    """The engine gets everything but one tensor; small updates of about 1% of the weight are enough."""
    import torch

    target = {
        "bias buffer": "model.layers.1.mlp.gate.e_score_correction_bias",
        "one expert": "model.layers.2.mlp.experts.gate_up_proj",
        "absorbed MLA": "model.layers.0.self_attn.kv_b_proj.weight",
    }[fault]
    tensor = tiny_model.state_dict()[target]
    engine.sync(tiny_model)
    with torch.no_grad():
        change = torch.zeros_like(tensor)
        part = change[3] if fault == "one expert" else change
        part.add_(torch.randn(part.shape, generator=torch.Generator().manual_seed(0)) * 0.01)
        tensor.add_(change)
    with pytest.raises(CanaryFailure):
        Canary(160).check(tiny_model, engine)


def test_limits_follow_the_precision() -> None:
    assert Canary(10).max_gap == 1e-3 and Canary(10, precision="bfloat16").mean_gap == 0.02
    assert Canary(10, max_gap=0.1).max_gap == 0.1
