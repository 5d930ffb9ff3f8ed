"""The cost model against figures that were published, and against its own limits."""

from __future__ import annotations

import math

import pytest

from benchmarks import plan_published
from pipelines.cost import Assumptions, Lengths, Rollout, _Engine, rollout_seconds, train_seconds, trainer_memory
from pipelines.hardware import DEVICES, Hardware, parse_hardware
from pipelines.shapes import KNOWN, shape
from pipelines.source import ConfigError

V3 = shape(KNOWN["deepseek-ai/DeepSeek-V3"])
QWEN = shape(KNOWN["Qwen/Qwen2.5-7B"])
ASSUME = Assumptions()
MISSED = {"V3 context extension", "V2, 1T tokens"}  # beyond 30%, and said so in docs/plan.md


def test_published_hours_within_thirty_percent_but_for_the_ones_told() -> None:
    lines = plan_published.lines()
    assert {line.name for line in lines if abs(line.error) > 0.30} == MISSED
    assert {"V3 in all", "R1-Zero", "R1, stage 1 of 2,500 steps"} <= {line.name for line in lines} - MISSED


def test_the_decoding_utilisation_is_that_of_the_published_inference_system() -> None:
    # 18 nodes of 8 H800 decode together, weights in FP8, cache in bf16: 14,800 tokens/s a node at 21 a reader.
    device, size = DEVICES["h800"], 144
    readers = 14_800 * 18 / 21
    read = (V3.parameters + readers * 4989 * V3.kv_numbers * 2) / device.bandwidth
    compute = readers * V3.forward_flops(4989) / device.flops
    step = V3.layers * device.layer_s + (read + compute) / (size * ASSUME.decode)
    assert 1 / step == pytest.approx(21, rel=0.03)


def test_one_reader_is_served_at_the_floor() -> None:
    engine = _Engine(V3, Hardware("h800", 144), 144, 1, ASSUME)
    assert 1 / engine.step(1, 1000) == pytest.approx(60, rel=0.05)


def test_lengths_keep_their_mean_and_their_limit() -> None:
    short, even = Lengths(10, 1000), Lengths(500, 1000)
    assert short.scale == pytest.approx(10, rel=1e-6) and short.context == pytest.approx(10, rel=1e-6)
    assert even.scale > 500  # the cut takes the tail
    # Nearly all at the limit: a token then has half the limit before it.
    assert Lengths(999, 1000).context == pytest.approx(500, rel=0.01)


def test_a_rollout_lasts_at_least_as_long_as_its_longest_answer() -> None:
    lengths = Lengths(1000, 8000)
    alone = rollout_seconds(QWEN, Hardware("h100", 8), Rollout(8 * 1024, lengths, 100), ASSUME)
    floor = 8000 * QWEN.layers * DEVICES["h100"].layer_s
    assert alone > floor
    more = rollout_seconds(QWEN, Hardware("h100", 8), Rollout(80 * 1024, lengths, 100), ASSUME)
    assert 3 * alone < more < 12 * alone  # beyond what fits at once, time grows with the work


def test_a_limit_on_sequences_costs_time() -> None:
    lengths = Lengths(1000, 8000)
    free, limited = (
        rollout_seconds(QWEN, Hardware("h100", 1), Rollout(1024, lengths, 100, sequences), ASSUME)
        for sequences in (None, 16)
    )
    assert limited > 5 * free


def test_what_does_not_fit_is_infinite() -> None:
    work = Rollout(64, Lengths(1000, 8000), 100)
    assert math.isinf(rollout_seconds(V3, Hardware("h800", 8), work, ASSUME))  # 1.3 TB of weights in bf16
    assert math.isfinite(rollout_seconds(V3, Hardware("h800", 32), work, ASSUME))


def test_training_time_is_work_over_speed() -> None:
    one = train_seconds(QWEN, Hardware("h100", 1), 1e9, 2000, ASSUME)
    assert train_seconds(QWEN, Hardware("h100", 8), 8e9, 2000, ASSUME) == pytest.approx(one)
    # 6 FLOPs a parameter and token, attention apart.
    matrices = QWEN.active - QWEN.embedding
    assert one == pytest.approx(6 * matrices * 1e9 / (989e12 * ASSUME.train), rel=0.1)


def test_memory_of_the_trainer() -> None:
    plain = trainer_memory(QWEN, 4096, reference=False, recompute=False, half=True)
    assert plain.weights + plain.optimizer == 16 * QWEN.parameters
    kept = trainer_memory(QWEN, 4096, reference=True, recompute=True, half=True)
    assert kept.activations < plain.activations / 10 and kept.reference == 4 * QWEN.parameters


@pytest.mark.parametrize(
    ("text", "name", "count"), [("8xh800", "h800", 8), ("H100", "h100", 1), ("512xh20", "h20", 512)]
)
def test_hardware_words(text: str, name: str, count: int) -> None:
    assert parse_hardware(text) == Hardware(name, count)


@pytest.mark.parametrize("text", ["8xh8000", "0xh100", "h100x8", "", "8 h100"])
def test_unknown_hardware_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_hardware(text)
    assert len(error.value.lines) == 1 and "COUNTxDEVICE" in error.value.lines[0]
