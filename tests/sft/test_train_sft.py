"""SFT through the real trainer on a tiny DeepSeek-V3: what is learnt, what survives, what a resume gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sft.config import SftSettings
from sft.data import IGNORE, LengthBatches, encode

ROWS = [
    {
        "prompt": f"What is {a} + {b}?",
        "completion": f"<think>{a} plus {b}</think><answer>{a + b}</answer>",
        "system": None,
    }
    for a in range(2, 14)
    for b in (3, 40)
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.checkpoint import save_model
    from models.tiny import build_config, build_model
    from models.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in ROWS], vocab_size=300)
    config = build_config(
        len(tokenizer),
        hidden_size=64,
        layers=2,
        heads=2,
        expert_size=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny")
    save_model(build_model(config, seed=1), tokenizer, folder)
    return folder


class NoBar:
    def advance(self, n: int = 1, **fields: Any) -> None: ...


def run(model: Path, out: Path, scratch: Path, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> dict[str, Any]:
    from sft.train import train_sft

    lines: list[dict[str, Any]] = []
    config = SftSettings(**{"lr": 3e-3, "batch": 8, "epochs": 1, "log_every": 1, **settings})
    result = train_sft(
        model,
        rows,
        config,
        out,
        seed=0,
        log=lambda step, **numbers: lines.append({"step": step, **numbers}),
        progress=lambda description, total: NoBar(),
        scratch=scratch,
    )
    return {**result, "lines": lines}


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_labels_cover_the_completion_and_its_eos_only(tiny_model: Path) -> None:
    from models.checkpoint import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    data = encode(tokenizer, ROWS[:1], max_length=100)
    ids, labels = data.input_ids[0], data.labels[0]
    learnt = [label for label in labels if label != IGNORE]
    assert tokenizer.decode(learnt) == ROWS[0]["completion"] + "<|eos|>"
    assert tokenizer.decode(ids[: -len(learnt)]) == "<|bos|><|user|>What is 2 + 3?<|assistant|>"
    assert labels[: -len(learnt)] == [IGNORE] * (len(ids) - len(learnt))
    assert data.n_completion_tokens == len(learnt)


def test_a_too_long_sample_is_left_out_not_cut(tiny_model: Path) -> None:
    from models.checkpoint import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    long = {"prompt": "a", "completion": "1" * 90, "system": None}
    assert encode(tokenizer, [ROWS[0], long], max_length=60).too_long == 1
    with pytest.raises(ValueError, match="none of the 1 samples is at most 60 tokens"):
        encode(tokenizer, [long], max_length=60)


def test_prompt_tokens_give_no_gradient(tiny_model: Path, tmp_path: Path) -> None:
    """The trainer's loss is the mean over completion tokens of the whole batch: computed here by hand."""
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from sft.train import build_trainer

    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    data = encode(tokenizer, ROWS[:4], max_length=100)
    config = SftSettings(batch=4, save_every=0)
    trainer = build_trainer(model, tokenizer, data, config, tmp_path, 0, 100, [])
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == {"input_ids", "labels", "attention_mask"}
    loss = trainer.compute_loss(model, dict(batch)).item()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, labels in zip(data.input_ids, data.labels, strict=True):
            logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            for t in range(1, len(ids)):
                if labels[t] != IGNORE:
                    total, count = total - float(logp[t - 1, ids[t]]), count + 1
    assert count == data.n_completion_tokens
    assert abs(loss - total / count) < 1e-4


def test_training_learns_and_keeps_what_vllm_needs(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(tiny_model, out, tmp_path / "s", rows=ROWS[:8], epochs=30, lr=1e-2, router="bias_update(0.01)")
    assert result["steps"] == 30 and result["rows"] == 8
    assert result["loss"] < 0.5 * result["lines"][0]["loss"]
    assert result["lines"][-1]["router/max_vio"] == result["max_vio"]
    lrs = [line["lr"] for line in result["lines"]]
    assert max(lrs) <= 1e-2 and lrs[-1] == pytest.approx(1e-3, rel=0.1)
    before, after = weights(tiny_model), weights(out)
    assert before.keys() == after.keys() and "model.layers.1.mlp.experts.7.up_proj.weight" in after
    bias = after["model.layers.1.mlp.gate.e_score_correction_bias"]
    assert str(bias.dtype) == "torch.float32" and float(bias.abs().max()) > 0
    config = json.loads((out / "config.json").read_text())
    assert config["topk_method"] == "noaux_tc" and config["scoring_func"] == "sigmoid"
    assert (out / "tokenizer.json").exists() and "chat_template" in "".join(p.name for p in out.iterdir())


def test_eos_is_learnt(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from models.chat import render_prompt
    from models.checkpoint import load_model, load_tokenizer

    run(tiny_model, tmp_path / "out", tmp_path / "s", rows=ROWS[:1] * 8, epochs=60, lr=1e-2, batch=4)
    model, tokenizer = load_model(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    prompt = render_prompt(tokenizer, ROWS[0])
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)[0, len(prompt) :]
    assert tokenizer.decode(ids) == ROWS[0]["completion"] + "<|eos|>"


def test_frozen_router_and_saved_precision(tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, tmp_path / "out", tmp_path / "s", freeze_router=True, save_dtype="bfloat16")
    before, after = weights(tiny_model), weights(tmp_path / "out")
    gate = "model.layers.1.mlp.gate."
    assert after[gate + "weight"].equal(before[gate + "weight"].bfloat16())
    assert after[gate + "e_score_correction_bias"].equal(before[gate + "e_score_correction_bias"])
    assert not after["lm_head.weight"].equal(before["lm_head.weight"].bfloat16())


def test_a_killed_run_ends_with_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    """24 rows, batch 8, 2 epochs: 6 steps, killed after the checkpoint of step 4 (in the second epoch)."""
    settings = {"epochs": 2, "save_every": 2, "micro_batch": 4, "router": "bias_update(0.01)"}
    whole = run(tiny_model, tmp_path / "whole", tmp_path / "s1", **settings)
    assert whole["steps"] == 6

    class Killed(Exception):
        pass

    def die(step: int, **numbers: Any) -> None:
        if step == 5:
            raise Killed

    from sft.train import train_sft

    config = SftSettings(lr=3e-3, batch=8, log_every=1, **settings)
    bar = {"progress": lambda description, total: NoBar(), "scratch": tmp_path / "s2", "seed": 0}
    with pytest.raises(Killed):
        train_sft(tiny_model, ROWS, config, tmp_path / "half", log=die, **bar)
    told: list[int] = []
    steps: list[int] = []
    train_sft(
        tiny_model,
        ROWS,
        config,
        tmp_path / "half",
        log=lambda step, **numbers: steps.append(step),
        resumed=told.append,
        **bar,
    )
    assert told == [4] and steps == [5, 6]
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "half")
    assert {name for name in one if not one[name].equal(two[name])} == set()


def test_packed_rows_do_not_see_each_other(tiny_model: Path, tmp_path: Path) -> None:
    from models.checkpoint import load_model, load_tokenizer
    from sft.train import build_trainer

    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    data = encode(tokenizer, ROWS[:6], max_length=200)
    losses = []
    for packing in ("off", "bfd"):
        config = SftSettings(batch=6, packing=packing, save_every=0)
        trainer = build_trainer(model, tokenizer, data, config, tmp_path, 0, 200, [])
        batch = next(iter(trainer.get_train_dataloader()))
        losses.append(trainer.compute_loss(model, dict(batch)).item())
    assert "position_ids" in batch and losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_batches_hold_rows_of_similar_length_once_each() -> None:
    lengths = [(7 * i) % 50 for i in range(103)]
    sampler = LengthBatches(lengths, 8, seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again != second and sorted(first) == sorted(second) == list(range(103))
    spread = [
        max(lengths[i] for i in part) - min(lengths[i] for i in part) for part in zip(*[iter(first)] * 8, strict=False)
    ]
    assert sum(spread) / len(spread) < 8


def test_settings_refuse_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        SftSettings(batch=8, micro_batch=3)
    assert [SftSettings(batch=n).per_forward for n in (64, 8, 17, 24)] == [16, 8, 1, 12]
    with pytest.raises(ValueError, match="none of frozen"):
        SftSettings(router="aux")
    assert SftSettings(lr="1e-5").lr == 1e-5  # what PyYAML makes of 1e-5
