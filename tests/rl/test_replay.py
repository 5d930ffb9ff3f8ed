"""Router replay in the grpo stage: what is replayed is what was recorded, and the gap to the engine falls."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from rl.config import GrpoSettings
from tests.rl.test_grpo import run

pytestmark = pytest.mark.xdist_group("vllm")


def test_engine_and_trainer_choose_the_same_experts_in_float32(policy_path: Path, policy_engine: Any) -> None:
    """Layer by layer and token by token, the dense first layer of the engine's count left out."""
    import torch

    from models.checkpoint import load_model
    from models.replay import RouterReplay, place_routes
    from rollout.types import SamplingParams

    model = load_model(policy_path).eval()
    policy_engine.sync(model)
    groups = policy_engine.generate([[5, 6, 7], [9, 8, 7, 6, 5]], SamplingParams(max_tokens=12, seed=0), 5)
    replay = RouterReplay(model)
    for rollout in [rollout for group in groups for rollout in group]:
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])
        mask, columns = torch.ones_like(ids).bool(), torch.arange(ids.shape[1])[None]
        routes = place_routes([rollout.experts], mask, replay.layers)
        assert routes[0, :-1].min() >= 0, "every token but the last has run"
        with torch.no_grad(), replay.replaying(routes), replay.chunk(torch.tensor([0]), columns, mask):
            model(input_ids=ids)
    assert replay.changed() == 0.0


@pytest.mark.parametrize("replay", ["r2", "r3"])
def test_every_token_follows_its_recorded_route(
    replay: str, policy_path: Path, policy_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over mini-batches, where the weights have moved on since the routes were recorded."""
    import torch

    from models.replay import UNKNOWN, RouterReplay

    followed, wanted = [], []
    chunk = RouterReplay.chunk

    def watched(self: Any, rows: Any, columns: Any, mask: Any) -> Any:
        if torch.is_grad_enabled() and not followed_hooks:
            for i, layer in enumerate(self.layers):
                followed_hooks.append(layer.experts.register_forward_pre_hook(keep(i)))
        if torch.is_grad_enabled():
            given = self._routes[rows[:, None], columns].clone()
            given[~mask] = UNKNOWN
            wanted.append(given.flatten(0, 1))
            followed.append([None] * len(self.layers))
        return chunk(self, rows, columns, mask)

    def keep(i: int) -> Any:
        def hook(module: Any, args: Any) -> None:
            if torch.is_grad_enabled():
                followed[-1][i] = args[1].short()

        return hook

    followed_hooks: list[Any] = []
    monkeypatch.setattr(RouterReplay, "chunk", watched)
    settings = {"steps": 4, "minibatches": 2, "router_replay": replay, "lr": 3e-2}
    _, lines, _ = run(policy_path, tmp_path / "out", policy_engine, **settings)
    for given, used in zip(wanted, followed, strict=True):
        known = given[:, 0, 0] != UNKNOWN
        assert known.any() and torch.equal(torch.stack(used, dim=1)[known], given[known])
    later = [line["replay/changed"] for line in lines[1::2]]
    assert max(later) > 0, "the routers alone would have gone elsewhere"


def gaps_in_bfloat16(policy: Path, out: Path) -> dict[str, float]:
    """Mean gap between trainer and rollout at equal weights, without and with the rollout's routes."""
    from rollout.vllm_engine import VllmEngine, VllmOptions

    options = VllmOptions(max_model_len=128, max_num_seqs=32, dtype="bfloat16", routes=True)
    engine, gaps = VllmEngine(policy, options), {}
    for replay in ("off", "r3"):
        settings = {"steps": 1, "router_replay": replay, "engine_dtype": "bfloat16"}
        _, lines, _ = run(policy, out / replay, engine, scratch=out / f"{replay}-scratch", **settings)
        gaps[replay] = lines[0]["mismatch/mean"]
    engine.close()
    return gaps


def test_replaying_the_rollouts_routes_brings_the_trainer_closer(policy_path: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:  # a process holds one engine at a time
        gaps = process.submit(gaps_in_bfloat16, policy_path, tmp_path).result()
    assert gaps["r3"] < gaps["off"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"router_replay": "r2"}, "router_replay: r2 replays the pass for the old policy"),
        ({"router_replay": "r3", "engine": "transformers"}, "router_replay: r3 needs the experts"),
        ({"sleep": True, "engine": "server"}, "sleep: engine: server holds its memory all the time"),
        ({"sleep": True, "overlap": True, "correction": "token_truncate"}, "overlap draws while the policy trains"),
    ],
)
def test_engines_that_cannot_do_it_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GrpoSettings(**given)
    GrpoSettings(router_replay="r2", minibatches=2)
    GrpoSettings(router_replay="r3", engine="server", sleep=False)
