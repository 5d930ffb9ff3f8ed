"""LoRA: what is adapted, what comes out merged, and what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

IDS = [[5, 9, 17, 33, 21, 8, 40, 11]]


@pytest.fixture
def model() -> Any:
    from models.tiny import build_config, build_model

    return build_model(build_config(64, hidden_size=64, layers=2, heads=2, expert_size=32), seed=0).eval()


def trained(model: Any, targets: Any = "attention") -> Any:
    """The model with an adapter that has moved."""
    import torch

    from models.lora import adapter_parameters, add_adapter

    add_adapter(model, rank=4, alpha=8.0, targets=targets, seed=3)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    return model


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits


def test_an_adapter_begins_as_nothing_and_is_the_only_thing_that_trains(model: Any) -> None:
    import torch

    from models.lora import adapter_parameters, add_adapter, has_adapter, merged_state

    before, names = logits(model), set(model.state_dict())
    assert not has_adapter(model)
    add_adapter(model, rank=4, alpha=8.0, targets="attention", seed=3)
    assert has_adapter(model) and torch.equal(logits(model), before)
    training = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert training == set(adapter_parameters(model)) and len(training) == 2 * 2 * 4  # A, B; layers; q, kv a, kv b, o
    assert set(merged_state(model)) == names


@pytest.mark.parametrize("targets, layers", [("attention", 8), ("linear", 8 + 3 + 3)])
def test_targets_are_linear_layers_and_never_experts_routers_or_the_head(model: Any, targets: Any, layers: int) -> None:
    from models.lora import target_names

    names = target_names(model, targets)
    assert len(names) == layers  # `linear`: gate, up and down of the dense layer and of the shared expert
    assert not any(part in name for name in names for part in (".experts.", "lm_head", "mlp.gate."))


@pytest.mark.parametrize("targets", ["attention", "linear"])
def test_the_merged_model_is_the_adapted_one(model: Any, targets: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from models.checkpoint import load_model, save_model
    from models.lora import merged_state
    from models.tiny import build_model

    plain = build_model(model.config, seed=0).state_dict()
    before = logits(model)
    trained(model, targets)
    assert (logits(model) - before).abs().max() > 1e-3
    merged = merged_state(model)
    changed = {name for name in plain if not torch.equal(plain[name], merged[name])}
    assert len(changed) == (8 if targets == "attention" else 14) and merged.keys() == plain.keys()
    save_model(model, None, tmp_path)
    assert not any("lora" in name or "base_layer" in name for name in load_file(tmp_path / "model.safetensors"))
    assert (logits(load_model(tmp_path).eval()) - logits(model)).abs().max() < 1e-5


def test_a_hand_calculated_merge() -> None:
    import torch
    from torch import nn

    from models.lora import adapter_parameters, add_adapter, merged_state

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.Linear(2, 2, bias=True)

        def get_output_embeddings(self) -> None: ...

    model = Model()
    add_adapter(model, rank=1, alpha=3.0, targets="attention", seed=0)
    with torch.no_grad():
        model.attn.base_layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        a, b = adapter_parameters(model).values()
        a.copy_(torch.tensor([[1.0, -1.0]]))
        b.copy_(torch.tensor([[2.0], [0.5]]))
    assert merged_state(model)["attn.weight"].tolist() == [[7.0, -4.0], [4.5, 2.5]]  # W + 3/1 * B A
    assert set(merged_state(model)) == {"attn.weight", "attn.bias"}


def test_a_checkpoint_holds_the_adapter_and_the_router_biases(model: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from models.lora import LoraError, add_adapter, load_adapter, save_adapter
    from models.router import BIAS
    from models.tiny import build_model

    trained(model)
    biases = [buffer for name, buffer in model.named_buffers() if name.endswith(BIAS)]
    for bias in biases:
        bias += 0.125
    save_adapter(model, tmp_path)
    saved = load_file(tmp_path / "adapter.safetensors")
    assert sum(name.endswith(BIAS) for name in saved) == len(biases) > 0
    assert all(name.endswith(BIAS) or ".lora_" in name for name in saved)
    other = build_model(model.config, seed=0).eval()
    add_adapter(other, rank=4, alpha=8.0, targets="attention", seed=99)
    load_adapter(other, tmp_path)
    assert torch.equal(logits(other), logits(model))
    wrong = add_adapter(build_model(model.config, seed=0), rank=2, alpha=8.0, targets="attention", seed=0)
    with pytest.raises(LoraError, match="other lora_"):
        load_adapter(wrong, tmp_path)


def test_the_reference_is_the_model_before_the_adapter(model: Any, tmp_path: Path) -> None:
    import torch

    from models.lora import adapter_parameters, add_adapter
    from rl.reference import AdapterReference

    before = logits(model)
    add_adapter(model, rank=4, alpha=8.0, targets="attention", seed=3)
    reference = AdapterReference(model)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter += 0.1
    after, ids = logits(model), torch.tensor(IDS)
    with torch.no_grad():
        assert torch.equal(reference(input_ids=ids).logits, before) and torch.equal(logits(model), after)
        reference.replace(model)
        reference.save(tmp_path)
        for parameter in adapter_parameters(model).values():
            parameter += 0.1
        assert torch.equal(reference(input_ids=ids).logits, after)
        again = AdapterReference(model)
        again.load(tmp_path)
        assert torch.equal(again(input_ids=ids).logits, after)


@pytest.mark.parametrize(
    "row, rank, targets", [("all weights", 0, ""), ("`attention`", 16, "attention"), ("`linear`", 16, "linear")]
)
def test_the_memory_table_of_the_page(row: str, rank: int, targets: Any) -> None:
    from models.checkpoint import load_model
    from models.lora import adapter_parameters, add_adapter
    from models.tiny import TINY_BASE

    page = (Path(__file__).parents[2] / "docs" / "lora.md").read_text()
    model = load_model(TINY_BASE)
    whole = sum(parameter.numel() for parameter in model.parameters())
    if rank:
        add_adapter(model, rank=rank, alpha=32.0, targets=targets, seed=0)
    weights = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    reference = sum(p.numel() for p in adapter_parameters(model).values()) if rank else whole
    sizes = (weights, 3 * trained, reference, weights + 3 * trained + reference, 3 * trained)
    told = " | ".join([row, f"{trained:,}", *(f"{4 * size / 2**20:.1f} MiB" for size in sizes)])
    assert f"| {told} |" in page
