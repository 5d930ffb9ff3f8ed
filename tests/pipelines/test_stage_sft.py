"""The `sft` stage: a typed call in, a model folder and a log out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.artifacts import Samples, write_rows
from pipelines.stage import StageError
from pipelines.stages.sft import SftConfig, sft
from tests.pipelines.taught import SAMPLES, context, taught_model, untrained

pytestmark = pytest.mark.xdist_group("taught")  # they share one trained model


def test_the_stage_leaves_a_model_a_log_and_numbers(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = taught_model(tmp_path_factory)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in model.path.iterdir()}
    lines = [json.loads(line) for line in (model.path.parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 75, 100]
    assert lines[-1]["loss"] < 0.1 and lines[-1]["accuracy"] == 1.0
    assert len(lines[0]["load/1"]) == 8 and sum(lines[0]["load/1"]) == pytest.approx(1, abs=1e-3)
    assert 0 <= lines[0]["router/max_vio/1"] == lines[0]["router/max_vio"]


def test_several_sample_sets_are_one_and_numbers_go_to_the_manifest(tmp_path: Path) -> None:
    parts = [Samples(tmp_path / "a"), Samples(tmp_path / "b")]
    for part, row in zip(parts, SAMPLES, strict=True):
        write_rows(part, [row])
    ctx = context(tmp_path)
    sft(ctx, SftConfig(epochs=1, batch=2, log_every=1), model=untrained(tmp_path / "base"), samples=parts)
    assert ctx.numbers["rows"] == 2 and ctx.numbers["steps"] == 1 and ctx.numbers["too_long"] == 0


def test_what_the_user_can_fix_is_one_line(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "a")
    write_rows(samples, SAMPLES)
    base = untrained(tmp_path / "base")
    for config, message in (
        ({"max_length": 4}, r"none of the 2 samples is at most 4 tokens long"),
        ({"router": "aux(0.01)"}, r"DeepseekV3ForCausalLM computes no auxiliary loss"),
    ):
        with pytest.raises(StageError, match=message) as caught:
            sft(context(tmp_path), SftConfig(**config), model=base, samples=[samples])
        assert "\n" not in str(caught.value)
