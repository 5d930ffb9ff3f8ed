"""`rehearsal: logits`: texts of the model's own are held to the distribution that it had for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sft.config import SftSettings
from sft.data import IGNORE
from tests.sft.test_train_sft import ROWS, run, tiny_model, weights

__all__ = ["tiny_model"]  # a fixture

TEXTS = [
    {"prompt": "What is", "completion": f" {a} plus {b} and {a} plus {b + 1}", "raw": True, "system": None}
    for a in range(2, 6)
    for b in (3, 40)
]


def table(*probabilities: float) -> Callable[..., Any]:
    """A model of two words that gives the same distribution everywhere."""
    import torch

    def forward(input_ids: Any, **_: Any) -> Any:
        return SimpleNamespace(logits=torch.tensor(probabilities).log().expand(*input_ids.shape, -1))

    return forward


def test_divergence_by_hand() -> None:
    """KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 ln 3/2 + 1/4 ln 1/2, at each of the three places that a label asks for."""
    import torch

    from sft.rehearsal import held_divergence

    labels = torch.tensor([[IGNORE, 0, 1, 1], [IGNORE, IGNORE, IGNORE, IGNORE]])
    batch = {"input_ids": torch.zeros(2, 4, dtype=torch.long), "attention_mask": torch.ones(2, 4), "labels": labels}
    total, n = held_divergence(table(0.5, 0.5), table(0.75, 0.25), batch)
    assert n == 3 and float(total) == pytest.approx(3 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))
    assert float(held_divergence(table(0.75, 0.25), table(0.75, 0.25), batch)[0]) == pytest.approx(0, abs=1e-7)


def test_texts_alone_move_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """The model is what they are held to, so there is no gradient; their tokens would give one."""
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from sft.data import encode
    from sft.train import build_trainer

    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    data = encode(tokenizer, TEXTS, max_length=100)
    assert all(data.raw)
    settings = SftSettings(batch=8, save_every=0)
    norms = []
    for before in (None, load_model(tiny_model).requires_grad_(False).eval()):
        trainer = build_trainer(model, tokenizer, data, settings, tmp_path, 0, 100, [], before)
        batch = next(iter(trainer.get_train_dataloader()))
        model.zero_grad()
        trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(data.n_completion_tokens)).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)))
    assert norms[0] > 0.1 and norms[1] < 1e-4 * norms[0]


def test_a_held_token_counts_as_much_as_is_told(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from sft.data import encode
    from sft.train import build_trainer

    model, other, tokenizer = load_model(tiny_model), load_model(tiny_model).eval(), load_tokenizer(tiny_model)
    with torch.no_grad():
        other.lm_head.weight.mul_(3)
    data = encode(tokenizer, TEXTS, max_length=100)
    losses = []
    for weight in (1.0, 3.0):
        config = SftSettings(batch=8, save_every=0, rehearsal_weight=weight)
        trainer = build_trainer(model, tokenizer, data, config, tmp_path, 0, 100, [], other)
        batch = next(iter(trainer.get_train_dataloader()))
        losses.append(float(trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(10)).detach()))
    assert losses[1] == pytest.approx(3 * losses[0]) and losses[0] > 0.01


def test_the_loss_is_that_of_the_whole_batch_however_it_is_cut(tiny_model: Path, tmp_path: Path) -> None:
    """Chats and texts that share a pass, and passes of one kind alone, weigh the same."""
    logged = []
    for size in (1, 4, 8):
        result = run(
            tiny_model, tmp_path / f"o{size}", tmp_path / f"s{size}", ROWS + TEXTS, rehearsal="logits", micro_batch=size
        )
        logged.append([line["loss"] for line in result["lines"]])
    assert logged[0] == pytest.approx(logged[2], abs=1e-4) and logged[1] == pytest.approx(logged[2], abs=1e-4)
    assert len(logged[0]) == 4 and len(set(logged[0])) == 4


def test_held_texts_stay_where_they_were_and_chats_are_learnt(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    run(tiny_model, base, tmp_path / "s0", TEXTS, epochs=30, lr=1e-2)  # a model that has a language to lose
    losses, apart = {}, {}
    for name, rows, way in (("alone", ROWS, "tokens"), ("held", ROWS + TEXTS, "logits")):
        result = run(base, tmp_path / name, tmp_path / f"s-{name}", rows, epochs=12, lr=1e-2, rehearsal=way)
        losses[name] = chats_loss(tmp_path / name)
        apart[name] = divergence(base, tmp_path / name)
    assert losses["held"] < 0.5 * chats_loss(base) and apart["held"] < 0.2 * apart["alone"]
    assert 0 < result["lines"][-1]["rehearsal"] < 0.2 * apart["alone"]  # and the log tells it


def chats_loss(folder: Path) -> float:
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from sft.data import encode

    model, data = load_model(folder), encode(load_tokenizer(folder), ROWS, max_length=100)
    with torch.no_grad():
        pairs = zip(data.input_ids, data.labels, strict=True)
        losses = [model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss for ids, labels in pairs]
    return float(torch.stack(losses).mean())


def divergence(before: Path, after: Path) -> float:
    """Nats a token between two models on TEXTS."""
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from sft.data import encode
    from sft.rehearsal import held_divergence

    data, total, n = encode(load_tokenizer(before), TEXTS, max_length=100), 0.0, 0
    one, two = load_model(before), load_model(after)
    with torch.no_grad():
        for ids, labels in zip(data.input_ids, data.labels, strict=True):
            batch = {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
            found, places = held_divergence(two, one, {**batch, "attention_mask": torch.ones(1, len(ids))})
            total, n = total + float(found), n + places
    return total / n


def test_without_texts_the_setting_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    for way in ("tokens", "logits"):
        run(tiny_model, tmp_path / way, tmp_path / f"s-{way}", rehearsal=way)
    one, two = weights(tmp_path / "tokens"), weights(tmp_path / "logits")
    assert all(one[name].equal(two[name]) for name in one)


def test_a_killed_run_ends_with_the_same_weights(tiny_model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from tests.sft import test_train_sft
    from tests.sft.test_train_sft import Killed, same, start

    monkeypatch.setattr(test_train_sft, "ROWS", ROWS[:16] + TEXTS)
    whole = start(tiny_model, tmp_path / "whole", rehearsal="logits")
    with pytest.raises(Killed):
        start(tiny_model, tmp_path / "cut", die=5, rehearsal="logits")
    assert start(tiny_model, tmp_path / "cut", rehearsal="logits") == whole
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_several_trainer_processes_are_refused(tiny_model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A launcher sets WORLD_SIZE; TRL would multiply its own part of the loss by it, and not the held texts'."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="rehearsal: logits is for one process"):
        run(tiny_model, tmp_path / "o", tmp_path / "s", ROWS + TEXTS, rehearsal="logits")


def test_packed_rows_cannot_be_held() -> None:
    with pytest.raises(ValueError, match="rehearsal: logits needs its texts apart from the chats"):
        SftSettings(rehearsal="logits", packing="bfd")


def test_what_was_trained_before_the_setting_came_is_still_found() -> None:
    from pipelines.stages.sft import SftConfig

    assert not {"rehearsal", "rehearsal_weight"} & SftConfig().deciding().keys()
    assert SftConfig(rehearsal="logits").deciding()["rehearsal"] == "logits"
