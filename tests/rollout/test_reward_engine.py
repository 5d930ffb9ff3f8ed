"""Reward engines against the model that was trained: in this process, and on a `vllm serve` in its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sft.preferences import PAIRS, write_base, write_reward_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(write_base(tmp_path_factory.mktemp("base")), tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def texts(folder: Path) -> tuple[list[list[int]], list[float]]:
    """Token rows of many lengths, and their scores one at a time, unpadded."""
    import torch

    from models.chat import render_judged
    from models.checkpoint import load_tokenizer
    from models.scalar import load_scalar_model

    tokenizer, model = load_tokenizer(folder), load_scalar_model(folder).eval()
    ids = [render_judged(tokenizer, row, "Yes, " * i + row["chosen"]) for i, row in enumerate(PAIRS[:9])]
    with torch.no_grad():
        return ids, [model(input_ids=torch.tensor([row], device=model.device)).logits.item() for row in ids]


def test_padding_and_order_change_no_score(folder: Path, texts: tuple[list[list[int]], list[float]]) -> None:
    from rollout.reward_engine import make_reward_engine

    ids, alone = texts
    engine = make_reward_engine("auto", folder, dtype="float32", batch_tokens=200)
    assert engine.score(ids) == pytest.approx(alone, abs=1e-5) and engine.context == 512
    assert engine.score(ids[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert engine.score([]) == [] and max(alone) - min(alone) > 0.1
    engine.close()
    engine.close()


@pytest.mark.xdist_group("servers")
def test_a_reward_server_gives_the_same_scores(folder: Path, texts: tuple[list[list[int]], list[float]]) -> None:
    pytest.importorskip("vllm")
    from contextlib import closing

    from rollout.reward_server import ServerRewardEngine

    ids, alone = texts
    with closing(ServerRewardEngine(folder, dtype="float32")) as engine:
        assert engine.score(ids) == pytest.approx(alone, abs=1e-5)


def test_a_description_that_is_not_ours_is_told_in_one_line(tmp_path: Path) -> None:
    from rollout.reward_info import RewardModelInfo

    (tmp_path / "reward_model.json").write_text('{"kind": "pairs"}')
    with pytest.raises(ValueError, match="not a reward model's description"):
        RewardModelInfo.read(tmp_path)
