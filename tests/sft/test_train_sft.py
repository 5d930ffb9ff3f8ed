"""SFT through the real trainer on a tiny DeepSeek-V3: what is learnt, what survives, what a resume gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config import SftSettings
from sft.data import IGNORE, RandomBatches, encode
from tests.disks import fill, small_disk

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


class Killed(Exception):
    pass


def start(
    model: Path, folder: Path, *, die: int = 0, trouble: Callable[[], None] | None = None, **settings: Any
) -> Any:
    """A run in `folder` that ends at step `die`, if that is not 0, with `trouble` or Killed: (result, lines, warnings).

    24 rows, batch 8, 2 epochs: 6 steps.
    """
    from sft.train import train_sft

    lines: list[dict[str, Any]] = []

    def log(step: int, **numbers: Any) -> None:
        if step == die:
            (trouble or fail)()
        lines.append({"step": step, **numbers})

    def fail() -> None:
        raise Killed

    def resumed(step: int) -> list[dict[str, Any]]:
        lines.extend(line for line in json.loads((folder / "lines").read_text()) if line["step"] <= step)
        return list(lines)

    told: list[str] = []
    config = SftSettings(**{"lr": 3e-3, "batch": 8, "epochs": 2, "save_every": 2, "micro_batch": 4, "log_every": 1,
                            "router": "bias_update(0.01)", **settings})  # fmt: skip
    try:
        result = train_sft(
            model, ROWS, config, folder / "out", seed=0, log=log, progress=lambda description, total: NoBar(),
            scratch=folder / "scratch", resumed=resumed, say=told.append,
        )  # fmt: skip
    finally:
        (folder / "lines").parent.mkdir(parents=True, exist_ok=True)
        (folder / "lines").write_text(json.dumps(lines))
    return {key: value for key, value in result.items() if key != "seconds"}, lines, told


def same(one: Path, two: Path) -> bool:
    return (one / "out/model.safetensors").read_bytes() == (two / "out/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An uninterrupted run: its folder and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, start(tiny_model, folder)


def test_a_killed_run_ends_with_the_same_weights_and_numbers(tiny_model: Path, tmp_path: Path, whole: Any) -> None:
    with pytest.raises(Killed):
        start(tiny_model, tmp_path, die=5)
    assert start(tiny_model, tmp_path) == whole[1] and same(whole[0], tmp_path)


def test_a_run_killed_after_its_last_step_only_has_to_save(tiny_model: Path, tmp_path: Path, whole: Any) -> None:
    start(tiny_model, tmp_path)
    (tmp_path / "out/model.safetensors").unlink()
    assert start(tiny_model, tmp_path) == whole[1] and same(whole[0], tmp_path)


def test_a_damaged_checkpoint_is_skipped_and_the_one_before_used(tiny_model: Path, tmp_path: Path, whole: Any) -> None:
    from models.sealed import flaw

    with pytest.raises(Killed):
        start(tiny_model, tmp_path, die=5)
    kept = sorted(path.name for path in (tmp_path / "scratch").iterdir())
    assert kept == ["checkpoint-2", "checkpoint-4"] and not any(flaw(tmp_path / "scratch" / name) for name in kept)
    file = tmp_path / "scratch/checkpoint-4/optimizer.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    result, lines, told = start(tiny_model, tmp_path)
    assert "optimizer.pt is not what was written" in told[0] and told[0].endswith("going on from checkpoint-2")
    assert (result, lines) == whole[1][:2] and same(whole[0], tmp_path)


def test_rotation_keeps_the_newest_and_what_is_protected(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.train import Trainer

    monkeypatch.setattr(Trainer, "protected", frozenset({"checkpoint-1"}))
    start(tiny_model, tmp_path, save_every=1, keep=2)
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == [
        "checkpoint-1",
        "checkpoint-5",
        "checkpoint-6",
    ]


def test_a_disk_that_fills_up_costs_nothing_that_was_saved(tiny_model: Path, tmp_path: Path, whole: Any) -> None:
    from models.checkpoint import last_checkpoint
    from pipelines.disk import full_disk

    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        filler = disk / "filler"
        with pytest.raises(Exception) as caught:
            start(tiny_model, disk, die=3, trouble=lambda: fill(filler, left=200_000))
        assert (
            full_disk(caught.value, disk).startswith(f"the disk of {disk}") and not (disk / "scratch/.saving").exists()
        )
        assert last_checkpoint(disk / "scratch") == disk / "scratch/checkpoint-2"
        filler.unlink()
        assert start(tiny_model, disk) == whole[1] and same(whole[0], disk)


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(
    tiny_model: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=3) as disk:
        with pytest.raises(OSError, match=r"the model and its checkpoints take about \d+ MB and 3 MB are free"):
            start(tiny_model, disk)
        assert json.loads((disk / "lines").read_text()) == []
        start(tiny_model, disk, save_every=0)


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


def test_batches_are_random_and_sorted_by_length_within() -> None:
    lengths = [10] * 60 + [100] * 43  # say, answers at once and worked ones
    sampler = RandomBatches(lengths, 8, seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again != second and sorted(first) == sorted(second) == list(range(103))
    batches = [[lengths[i] for i in first[start : start + 8]] for start in range(0, 103, 8)]
    assert all(batch == sorted(batch) for batch in batches)
    assert all(set(batch) == {10, 100} for batch in batches[:-1])  # every step learns both


def test_settings_refuse_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        SftSettings(batch=8, micro_batch=3)
    assert [SftSettings(batch=n).per_forward for n in (64, 8, 17, 24)] == [8, 8, 1, 8]
    with pytest.raises(ValueError, match="none of frozen"):
        SftSettings(router="aux")
    assert SftSettings(lr="1e-5").lr == 1e-5  # what PyYAML makes of 1e-5


def test_a_model_that_has_diverged_is_not_saved(tiny_model: Path, tmp_path: Path) -> None:
    from models.finite import DivergenceError

    with pytest.raises(DivergenceError, match="training has diverged: lower lr"):
        run(tiny_model, tmp_path / "out", tmp_path / "scratch", lr=1e38)
    assert not (tmp_path / "out").exists()
