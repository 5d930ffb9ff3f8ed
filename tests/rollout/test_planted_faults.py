"""A sync that loses something is caught by the canary at once: the fault is planted on the way or in the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.zoo import update_all_tensors
from rollout import vllm_engine
from rollout.canary import Canary, CanaryFailure
from rollout.weights import checkpoint_state

pytestmark = pytest.mark.xdist_group("vllm")

State = dict[str, Any]
EXPERTS = "model.layers.1.mlp.experts."


def one_expert_stale(new: State, old: State) -> State:
    return new | {name: tensor for name, tensor in old.items() if name.startswith(f"{EXPERTS}3.")}


def bias_dropped(new: State, old: State) -> State:
    return {name: tensor for name, tensor in new.items() if not name.endswith("e_score_correction_bias")}


def experts_swapped(new: State, old: State) -> State:
    other = {f"{EXPERTS}2.": f"{EXPERTS}5.", f"{EXPERTS}5.": f"{EXPERTS}2."}
    names = {name: other.get(name[: len(EXPERTS) + 2], name[: len(EXPERTS) + 2]) for name in new}
    return {name: new[names[name] + name[len(EXPERTS) + 2 :]] for name in new}


@pytest.mark.parametrize("lose", [one_expert_stale, bias_dropped, experts_swapped])
def test_a_fault_on_the_way_is_caught_at_the_first_sync(
    engine: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, lose: Callable[[State, State], State]
) -> None:
    canary = Canary(160)
    canary.check(tiny_model, engine)
    old = {name: tensor.clone() for name, tensor in checkpoint_state(tiny_model).items()}
    update(tiny_model)
    monkeypatch.setattr(vllm_engine, "checkpoint_state", lambda model: lose(checkpoint_state(model), old))
    engine.sync(tiny_model)
    with pytest.raises(CanaryFailure, match="at step 1"):
        canary.check(tiny_model, engine, step=1)
    monkeypatch.undo()
    engine.sync(tiny_model)
    assert canary.check(tiny_model, engine).max <= 1e-5, "the same update without the fault"


def test_rope_off_is_caught_at_the_first_sync(engine: Any, tiny_model: Any, rope_off: Callable[[], None]) -> None:
    canary = Canary(160)
    canary.check(tiny_model, engine)
    rope_off()
    update(tiny_model)
    engine.sync(tiny_model)
    with pytest.raises(CanaryFailure, match="at step 1"):
        canary.check(tiny_model, engine, step=1)


def update(model: Any) -> None:
    """A large step: weights move by 20%, selection biases by DeepSeek-V3's 0.001 (2412.19437, 4.2)."""
    biases = {name: b.clone() for name, b in model.state_dict().items() if name.endswith("e_score_correction_bias")}
    update_all_tensors(model, 0.2, seed=1, relative=True)
    for name, before in biases.items():
        bias = model.state_dict()[name]
        bias.copy_(before + 0.001 * (bias - before).sign())


@pytest.fixture
def rope_off(shared_engine: Any) -> Iterator[Callable[[], None]]:
    """Turns the engine's rotations into the identity; put right afterwards."""
    caches: list[tuple[Any, Any]] = []

    def switch() -> None:
        modules = shared_engine._llm.llm_engine.model_executor.driver_worker.get_model().modules()
        for cache in {id(c): c for m in modules if (c := getattr(m, "cos_sin_cache", None)) is not None}.values():
            caches.append((cache, cache.clone()))
            half = cache.shape[-1] // 2
            cache[:, :half], cache[:, half:] = 1.0, 0.0
        assert caches, "the engine has rotations to switch off"

    yield switch
    for cache, kept in caches:
        cache.copy_(kept)
