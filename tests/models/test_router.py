"""Router policies on real tiny MoE models: what is counted, where the bias goes, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.router import RouterPolicy, RouterWatch, find_moe_layers, max_violation


def deepseek(**overrides: Any) -> Any:
    from models.tiny import build_config, build_model

    sizes = {"hidden_size": 64, "layers": 3, "heads": 2, "expert_size": 32}
    return build_model(build_config(128, **{**sizes, **overrides}), seed=0)


def qwen() -> Any:
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32}
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    sizes = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **heads, **experts))


def tokens(rows: int = 8, length: int = 32) -> Any:
    import torch

    return torch.randint(3, 128, (rows, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("text", "kind", "value", "centred"),
    [
        ("frozen", "frozen", 0.0, False),
        ("bias_update(0.001)", "bias_update", 0.001, False),
        (" bias_update(1e-3, centred) ", "bias_update", 0.001, True),
        ("aux(0.01)", "aux", 0.01, False),
    ],
)
def test_policies_parse_and_print_alike(text: str, kind: str, value: float, centred: bool) -> None:
    policy = RouterPolicy.parse(text)
    assert (policy.kind, policy.value, policy.centred) == (kind, value, centred)
    assert RouterPolicy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("freeze", "is none of frozen, bias_update"),
        ("bias_update", "is none of"),
        ("frozen(0.1)", "is none of"),
        ("bias_update(fast)", "'fast' is not a number"),
        ("bias_update(0)", "must lie between 0 and 1"),
        ("aux(-1)", "must lie between 0 and 1"),
        ("aux(0.1, centred)", "only `bias_update"),
    ],
)
def test_bad_policies_are_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RouterPolicy.parse(text)
    assert "\n" not in str(caught.value)


def test_max_violation_by_hand() -> None:
    import torch

    assert max_violation(torch.tensor([2.0, 2, 2, 2])) == 0.0
    assert max_violation(torch.tensor([8.0, 0, 0, 0])) == 3.0
    assert max_violation(torch.tensor([3.0, 2, 2, 1])) == 0.5
    assert max_violation(torch.zeros(4)) == 0.0


def test_counts_are_the_routers_own_choices_without_padding() -> None:
    import torch

    model = deepseek().train()
    watch = RouterWatch(model, RouterPolicy())
    assert [layer.index for layer in watch.layers] == [1, 2]
    chosen: list[Any] = []
    gate = watch.layers[0].router
    gate.register_forward_hook(lambda module, args, out: chosen.append(out[-1]))
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[:, 20:] = 0
    model(input_ids=ids, attention_mask=mask)
    model(input_ids=ids, attention_mask=mask)  # a second micro-batch of the same step
    want = sum(torch.bincount(c[mask.reshape(-1).bool()].reshape(-1), minlength=8) for c in chosen)
    watch.step()
    assert watch.loads()[1] == pytest.approx((want / want.sum()).tolist())
    assert float(want.sum()) == 2 * 8 * 20 * 2


def test_forwards_that_do_not_train_are_not_counted() -> None:
    import torch

    model = deepseek()
    watch = RouterWatch(model, RouterPolicy())
    with torch.no_grad():
        model.train()(input_ids=tokens())
    model.eval()(input_ids=tokens())
    assert watch.loads()[1] == [0.0] * 8
    assert watch.step()["router/max_vio"] == 0.0
    model.train()(input_ids=tokens())
    watch.close()
    model(input_ids=tokens())
    watch.step()
    assert sum(watch.loads()[1]) == pytest.approx(1.0)


@pytest.mark.parametrize("policy", ["bias_update(0.02)", "bias_update(0.02, centred)"])
def test_bias_moves_against_the_load_and_evens_it_out(policy: str) -> None:
    """A router that sends nearly everything to expert 0: after some updates MaxVio has fallen to a fraction."""
    import torch

    model = deepseek().train()
    layer = find_moe_layers(model)[0]
    with torch.no_grad():
        layer.router.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
        layer.bias[0] += 0.5  # a skew that only the bias can undo
        start = layer.bias.clone()
    watch = RouterWatch(model, RouterPolicy.parse(policy))
    ids, seen = tokens(), []
    for _ in range(40):
        model(input_ids=ids)
        seen.append(watch.step()["router/max_vio/1"])
    assert seen[0] == pytest.approx(3.0)  # 8 experts, top-2: one expert in every token's pair is 4 times the mean
    assert seen[-1] < 0.5 * seen[0]
    moved = layer.bias - start
    assert moved[0] < 0 < moved[1:].max() and layer.bias.dtype == torch.float32
    assert abs(float(moved.sum())) < 1e-4 or "centred" not in policy


def test_one_update_is_rate_times_sign() -> None:
    import torch

    model = deepseek(layers=2).train()
    watch = RouterWatch(model, RouterPolicy.parse("bias_update(0.25)"))
    watch._counts[0] += torch.tensor([9.0, 1, 5, 5, 5, 5, 5, 5])
    watch.step()
    assert watch.layers[0].bias.tolist() == [-0.25, 0.25, 0, 0, 0, 0, 0, 0]


def test_frozen_leaves_the_bias_and_bf16_models_keep_it_in_fp32() -> None:
    import torch

    model = deepseek().to(torch.bfloat16).train()
    layer = find_moe_layers(model)[0]
    watch = RouterWatch(model, RouterPolicy.parse("frozen", freeze_weights=True))
    before = layer.bias.clone()
    model(input_ids=tokens()).logits.sum().backward()
    watch.step()
    assert layer.bias.dtype == torch.float32 and layer.bias.equal(before)
    assert layer.router.weight.grad is None and model.lm_head.weight.grad is not None


def test_policies_are_refused_where_they_cannot_work() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    dense = LlamaForCausalLM(LlamaConfig(vocab_size=32, **small))
    for model, policy, message in (
        (qwen(), "bias_update(0.001)", "Qwen3MoeForCausalLM has none: use aux"),
        (deepseek(), "aux(0.001)", "DeepseekV3ForCausalLM computes no auxiliary loss"),
        (dense, "bias_update(0.001)", "LlamaForCausalLM has no router: use frozen"),
        (dense, "aux(0.001)", "has no router"),
    ):
        with pytest.raises(ValueError, match=message):
            RouterWatch(model, RouterPolicy.parse(policy))
    assert RouterWatch(dense, RouterPolicy()).step() == {}


def test_aux_turns_the_loss_on_and_the_others_turn_it_off() -> None:
    model = qwen().train()
    ids = tokens()
    RouterWatch(model, RouterPolicy.parse("aux(0.5)")).close()
    with_aux = model(input_ids=ids, labels=ids)
    watch = RouterWatch(model, RouterPolicy())
    without = model(input_ids=ids, labels=ids)
    assert with_aux.loss.item() == pytest.approx(without.loss.item() + 0.5 * with_aux.aux_loss.item(), abs=1e-5)
    assert 0 < watch.step()["router/max_vio"] < 3


def lean(model: Any) -> None:
    """Make layer 0 prefer the first half of the experts and layer 1 the second half, whatever the token."""
    import torch

    for layer, sign in zip(find_moe_layers(model), (1, -1), strict=True):
        layer.router.weight.data += sign * 0.01 * torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])[:, None]
    for block in model.model.layers:
        block.post_attention_layernorm.register_forward_hook(lambda module, inputs, out: out + 1.0)


def test_aux_sees_the_lean_of_each_layer_though_their_sum_is_even() -> None:
    model = qwen().train()
    lean(model)
    pooled = model(input_ids=tokens(), output_router_logits=True).aux_loss.item()
    watch = RouterWatch(model, RouterPolicy.parse("aux(0.5)"))
    alone = model(input_ids=tokens()).aux_loss.item()
    watch.close()
    assert pooled == pytest.approx(2.0, abs=0.1), "even: top_k"
    assert alone > 3.0, "half of the experts get everything: up to twice as much"
    assert model(input_ids=tokens(), output_router_logits=True).aux_loss.item() == pooled, "closed: as it was"


def test_aux_evens_out_layers_that_lean_apart() -> None:
    import torch

    model = qwen().train()
    lean(model)
    watch = RouterWatch(model, RouterPolicy.parse("aux(0.5)"))
    routers = [layer.router.weight for layer in find_moe_layers(model)]
    optimizer = torch.optim.AdamW(routers, lr=3e-3)
    max_vio = []
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=tokens()).aux_loss.backward()
        optimizer.step()
        max_vio.append(watch.step()["router/max_vio"])
    watch.close()
    assert max_vio[0] > 0.9 and max_vio[-1] < max_vio[0] / 2
