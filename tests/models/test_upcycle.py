"""Sparse upcycling: the MoE is the dense model at step 0, whatever the router says; its experts part later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import load_model, save_model
from models.router import RouterPolicy, RouterWatch, find_moe_layers
from models.upcycle import UpcycleError, upcycle
from models.zoo import build_random


def text(vocabulary: int = 256) -> torch.Tensor:
    return torch.randint(0, vocabulary, (4, 24), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def gap(dense: Any, sparse: Any, ids: torch.Tensor) -> float:
    """Largest difference of log-probabilities, nats."""
    logits = [model(input_ids=ids).logits.log_softmax(-1) for model in (dense, sparse)]
    return float((logits[0] - logits[1]).abs().max())


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize(("experts", "top_k"), [(4, 2), (8, 3), (2, 1)])
def test_equals_the_dense_model_at_step_0(architecture: str, experts: int, top_k: int) -> None:
    dense = build_random(architecture)
    sparse = upcycle(dense, experts=experts, top_k=top_k)
    assert gap(dense, sparse, text()) < 1e-5
    assert [layer.n_experts for layer in find_moe_layers(sparse)] == [experts] * 3


def test_the_router_does_not_matter_at_step_0_and_the_experts_do_later() -> None:
    dense = build_random("llama")
    sparse = upcycle(dense, experts=4, top_k=2)
    with torch.no_grad():
        for layer in find_moe_layers(sparse):
            layer.router.weight.normal_(std=3.0)
        assert gap(dense, sparse, text()) < 1e-5
        for layer in find_moe_layers(sparse):
            layer.experts.down_proj[0].mul_(1.5)
    assert gap(dense, sparse, text()) > 1e-2, "an expert that has changed is heard"


def test_the_dense_model_is_left_alone_and_shares_no_memory() -> None:
    dense = build_random("qwen3")
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    sparse = upcycle(dense, experts=2, top_k=2)
    with torch.no_grad():
        for tensor in sparse.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())


def test_routers_come_from_the_seed() -> None:
    dense = build_random("llama")
    routers = [find_moe_layers(upcycle(dense, experts=4, top_k=2, seed=seed))[1].router.weight for seed in (0, 0, 1)]
    assert torch.equal(routers[0], routers[1]) and not torch.equal(routers[0], routers[2])
    assert 0.01 < float(routers[0].detach().std()) < 0.03


def test_survives_its_folder(tmp_path: Path) -> None:
    dense = build_random("llama")
    save_model(upcycle(dense, experts=4, top_k=2), None, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config.model_type == "mixtral" and gap(dense, loaded, text()) < 1e-5


def test_training_parts_the_experts_and_aux_evens_the_load() -> None:
    """All experts start equal: only the tokens they see tell them apart."""
    sparse = upcycle(build_random("llama"), experts=4, top_k=2).train()
    watch = RouterWatch(sparse, RouterPolicy.parse("aux(0.1)"))
    optimizer = torch.optim.AdamW(sparse.parameters(), lr=3e-3)
    violations = []
    for _ in range(25):
        loss = sparse(input_ids=text(), labels=text()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        violations.append(watch.step()["router/max_vio"])
    experts = find_moe_layers(sparse)[0].experts.down_proj
    assert not torch.allclose(experts[0], experts[1], atol=1e-4)
    assert sum(violations[-5:]) < sum(violations[:5])


def test_a_model_without_a_counterpart_is_refused() -> None:
    with pytest.raises(UpcycleError, match="'mixtral' cannot be upcycled, only llama, mistral, qwen3"):
        upcycle(build_random("mixtral"), experts=4, top_k=2)
    dense = build_random("llama")
    dense.config.attention_bias = True
    with pytest.raises(UpcycleError, match="has biases, which mixtral has not"):
        upcycle(dense, experts=4, top_k=2)
