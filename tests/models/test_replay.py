"""Router replay on real models: indices are replayed, weights are the router's own, gradients flow.

The numbered cases are bugs that other implementations have shipped.
"""

from __future__ import annotations

from typing import Any

import pytest

from models.router import RouterError, find_moe_layers
from models.zoo import ARCHITECTURES, build_random

MOE = [name for name, fields in ARCHITECTURES.items() if any("experts" in field for field in fields)]


def tokens(rows: int = 2, length: int = 12) -> Any:
    import torch

    return torch.randint(3, 128, (rows, length), generator=torch.Generator().manual_seed(3))


def run(model: Any, ids: Any, replay: Any) -> Any:
    import torch

    rows, columns = torch.arange(len(ids)), torch.arange(ids.shape[1]).expand(*ids.shape)
    with replay.chunk(rows, columns, torch.ones_like(ids).bool()):
        return model(input_ids=ids, use_cache=False).logits


def record(model: Any, ids: Any, replay: Any) -> Any:
    import torch

    with torch.no_grad(), replay.recording(*ids.shape) as routes:
        run(model, ids, replay)
    return routes


def router_of(model: Any) -> Any:
    return find_moe_layers(model)[0].router


@pytest.mark.parametrize("architecture", MOE)
def test_replaying_a_models_own_routes_changes_nothing(architecture: str) -> None:
    import torch

    from models.replay import RouterReplay

    model, ids = build_random(architecture), tokens()
    with torch.no_grad():
        plain = model(input_ids=ids, use_cache=False).logits
    replay = RouterReplay(model)
    routes = record(model, ids, replay)
    assert routes.min() >= 0 and routes.shape[2] == len(replay.layers)
    with torch.no_grad(), replay.replaying(routes):
        replayed = run(model, ids, replay)
    assert torch.allclose(replayed, plain, atol=2e-5) and replay.changed() == 0.0


@pytest.mark.parametrize("architecture", MOE)
def test_other_routes_are_followed_to_the_letter(architecture: str) -> None:
    import torch

    from models.replay import RouterReplay

    model, ids = build_random(architecture), tokens()
    replay = RouterReplay(model)
    routes = (record(model, ids, replay) + 1) % replay.layers[0].n_experts
    followed: list[Any] = []
    for layer in replay.layers:
        layer.experts.register_forward_pre_hook(lambda module, args: followed.append(args[1]))
    with torch.no_grad(), replay.replaying(routes):
        run(model, ids, replay)
    assert torch.equal(torch.stack(followed, dim=1).view(routes.shape).short(), routes)
    assert replay.changed() > 0.5


def test_case_1_routes_of_all_layers_skip_the_dense_ones() -> None:
    import numpy as np
    import torch

    from models.replay import UNKNOWN, place_routes

    model = build_random("deepseek_v3")
    layers = find_moe_layers(model)
    assert layers[0].index == 1, "the first layer of this model is dense"
    depth = model.config.num_hidden_layers
    engine = np.arange(3 * depth * 2).reshape(3, depth, 2)
    mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    placed = place_routes([engine, engine], mask, layers)
    assert torch.equal(placed[0, 1:4], torch.from_numpy(engine[:, [x.index for x in layers]]).short())
    assert torch.equal(placed[1, :3], placed[0, 1:4])
    assert (placed[0, 4] == UNKNOWN).all() and (placed[0, 0] == UNKNOWN).all(), "the last token never ran"
    with pytest.raises(RouterError, match="the engine knows 1 layers"):
        place_routes([engine[:, :1]], mask[:1], layers)


def test_case_2_an_expert_outside_the_top_k_has_a_score_and_a_gradient() -> None:
    import torch

    from models.replay import weigh_like

    router = router_of(build_random("deepseek_v3"))
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0]], requires_grad=True)
    weights = weigh_like(router)(logits, torch.tensor([[6, 7]]))
    scores = torch.sigmoid(torch.tensor([-4.0, -5.0]))
    assert torch.allclose(weights[0], 2.5 * scores / scores.sum())
    weights[0, 0].backward()
    assert logits.grad is not None and logits.grad[0, 6] != 0 and logits.grad[0, :6].eq(0).all()


def test_case_3_the_selection_bias_weighs_nothing() -> None:
    import torch

    from models.replay import weigh_like

    model = build_random("deepseek_v3")
    router = router_of(model)
    router.e_score_correction_bias.copy_(torch.linspace(-3, 3, router.num_experts))
    states = torch.randn(16, router.weight.shape[1], generator=torch.Generator().manual_seed(0))
    logits, weights, chosen = router(states)
    assert torch.allclose(weigh_like(router)(logits, chosen), weights)
    found = torch.sigmoid(logits.float()).gather(1, chosen)
    assert torch.allclose(weights, 2.5 * found / found.sum(-1, keepdim=True), atol=1e-6)


def test_case_4_a_small_score_beside_a_large_bias_survives() -> None:
    """1e-8 + 12 - 12 is 0 in float32."""
    import torch

    from models.replay import weigh_like

    router = router_of(build_random("deepseek_v3"))
    router.e_score_correction_bias.fill_(12.0)
    logits = torch.full((1, router.num_experts), -18.4)
    logits[0, 0] = -19.1
    weights = weigh_like(router)(logits, torch.tensor([[0, 1]]))
    assert weights.sum() == pytest.approx(2.5)
    assert weights[0, 0] / weights[0, 1] == pytest.approx(0.4966, abs=1e-4)  # exp(-0.7)


def test_case_5_the_bias_stays_float32_in_a_bfloat16_model(tmp_path: Any) -> None:
    import torch

    from models.checkpoint import load_model, save_model
    from models.replay import RouterReplay

    model = build_random("deepseek_v3")
    steps = 7.0 + 1e-3 * torch.arange(router_of(model).num_experts)  # one value in bfloat16
    router_of(model).e_score_correction_bias.copy_(steps)
    save_model(model, None, tmp_path / "model")
    loaded = load_model(tmp_path / "model", "bfloat16")
    replay = RouterReplay(loaded)
    routes = record(loaded, tokens(), replay)
    assert torch.equal(router_of(loaded).e_score_correction_bias, steps)
    with torch.no_grad(), replay.replaying(routes):
        run(loaded, tokens(), replay)
    assert replay.changed() == 0.0


def test_case_6_tokens_without_routes_are_routed_freely() -> None:
    import torch

    from models.replay import UNKNOWN, RouterReplay

    model, ids = build_random("qwen3_moe"), tokens(1)
    with torch.no_grad():
        plain = model(input_ids=ids, use_cache=False).logits
    replay = RouterReplay(model)
    own = record(model, ids, replay)
    with torch.no_grad(), replay.replaying(torch.full_like(own, UNKNOWN)):
        assert torch.allclose(run(model, ids, replay), plain, atol=2e-5)
    partly = (own + 1) % 8
    partly[:, :6] = UNKNOWN
    with torch.no_grad(), replay.replaying(partly):
        mixed = run(model, ids, replay)
    assert torch.allclose(mixed[:, :6], plain[:, :6], atol=2e-5)
    assert not torch.allclose(mixed[:, 6:], plain[:, 6:], atol=1e-3)


def test_gradient_checkpointing_replays_the_same_routes_in_backward() -> None:
    import torch

    from models.replay import RouterReplay

    def gradients(checkpointing: bool) -> Any:
        model, ids = build_random("deepseek_v3").train(), tokens()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        replay = RouterReplay(model)
        routes = (record(model, ids, replay) + 3) % 8
        losses = []
        with replay.replaying(routes):
            for row in range(len(ids)):  # the second pass has other routes when the first is run again
                columns = torch.arange(ids.shape[1])[None]
                with replay.chunk(torch.tensor([row]), columns, torch.ones(1, ids.shape[1]).bool()):
                    losses.append(model(input_ids=ids[row : row + 1], use_cache=False).logits.logsumexp(-1).mean())
        sum(losses).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, again = gradients(False), gradients(True)
    assert plain.keys() == again.keys()
    assert all(torch.allclose(plain[name], again[name], rtol=1e-4, atol=1e-5) for name in plain)
    assert any("gate.weight" in name and grad.abs().sum() > 0 for name, grad in plain.items())


def test_dense_models_and_unknown_routers_are_refused() -> None:
    import torch

    from models.replay import RouterReplay, weigh_like

    with pytest.raises(RouterError, match="LlamaForCausalLM has no router"):
        RouterReplay(build_random("llama"))

    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 8))

        def forward(self, states: Any) -> Any:
            logits = states @ self.weight.T
            values, chosen = logits.topk(2)
            return logits, values.tanh(), chosen

    with pytest.raises(RouterError, match="Odd weighs its experts in an unknown way"):
        weigh_like(Odd())
