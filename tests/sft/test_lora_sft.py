"""SFT on a LoRA adapter: it learns, a resume is exact, the saved model is merged and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sft.test_train_sft import run, tiny_model  # noqa: F401

LORA = {"lora_rank": 8, "lr": 2e-2, "save_every": 2, "epochs": 2}


def test_sft_trains_the_adapter_and_resumes_exactly(
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from models.checkpoint import load_model
    from sft.train import Reporter

    whole = run(tiny_model, tmp_path / "whole", tmp_path / "a", **LORA)
    lines = whole["lines"]
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.1
    before, after = load_model(tiny_model).state_dict(), load_model(tmp_path / "whole").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and all(".self_attn." in name for name in changed) and len(changed) == 8

    with monkeypatch.context() as patch:
        step = Reporter.on_step_end

        def stop(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            step(self, args, state, control, **kwargs)
            if state.global_step == 5:
                raise KeyboardInterrupt

        patch.setattr(Reporter, "on_step_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_model, tmp_path / "x", tmp_path / "b", **LORA)
    assert (tmp_path / "b" / "checkpoint-4" / "adapter.safetensors").exists()
    run(tiny_model, tmp_path / "rest", tmp_path / "b", **LORA)
    rest = load_model(tmp_path / "rest").state_dict()
    assert all(torch.equal(after[name], rest[name]) for name in after)
