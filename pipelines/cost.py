"""How long a stage takes and how much memory it needs on given hardware, from sizes alone.

Training: FLOPs over peak times utilisation. Generation: one decoding step after the other while the batch thins out,
each as long as reading weights and cache, computing, and the floor that no batch size takes away. The constants are
published figures of DeepSeek's systems, the same for every model and run; `benchmarks/plan_published.py` shows what
they predict of runs that they were not taken from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.hardware import Hardware
from pipelines.shapes import Shape

NODE = 8  # devices behind one fast link


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What no config says. Everything here is printed beside the numbers that rest on it.

    train: share of peak FLOP/s in training. DeepSeek-V3: 38.9% of bf16 peak, causal attention counted
        (arXiv 2505.09343, table 4).
    decode: share of peak bandwidth and FLOP/s in decoding, above the floor. Solved once from DeepSeek's inference
        system: 14,800 tokens/s a node of 8 H800 at 20 to 22 tokens/s a reader, 4,989 cached tokens, 18 nodes
        together, weights in FP8 (open-infra-index, 2025-03-01).
    fill: mean length of a sequence as a share of the longest allowed. R1's SFT set: 5,355 of 32,768 (arXiv
        2501.12948v2, B.3.3).
    prompt: tokens of a prompt. R1's RL data: 122 for mathematics (the same, Table 4).
    """

    train: float = 0.389
    decode: float = 0.62
    fill: float = 0.163
    prompt: int = 122

    def mean(self, limit: int) -> float:
        """Mean tokens of a sequence that may have `limit`."""
        return max(1.0, self.fill * limit)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Exponentially distributed lengths cut off at `limit` with the given mean (tokens): memoryless, a long tail."""

    mean: float
    limit: int

    @property
    def scale(self) -> float:
        """The mean before the cut."""
        low, high = self.mean, self.mean * 1e6
        for _ in range(60):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if middle * -math.expm1(-self.limit / middle) > self.mean else (middle, high)
        return low

    @property
    def context(self) -> float:
        """Tokens before a token, averaged over all tokens: half the length-weighted mean length."""
        theta, cut = self.scale, self.limit
        share = math.exp(-cut / theta)
        square = 2 * theta**2 * (1 - share) - 2 * theta * cut * share
        return square / (2 * self.mean)


def train_seconds(
    shape: Shape, hardware: Hardware, tokens: float, context: float, assume: Assumptions, passes: float = 3.0
) -> float:
    """Seconds to train on `tokens`. passes: forward passes' worth of work; 3 = forward and backward."""
    peak = hardware.device.flops * hardware.count
    return tokens * passes * shape.forward_flops(context) / (peak * assume.train)


@dataclass(frozen=True, slots=True)
class Rollout:
    """`count` completions with `lengths` after prompts of `prompt` tokens, drawn as one batch.

    sequences: decoded at once by one engine; None = as many as its memory holds. bytes: of one weight and of one
    cached number.
    """

    count: int
    lengths: Lengths
    prompt: int
    sequences: int | None = None
    bytes: int = 2


def rollout_seconds(shape: Shape, hardware: Hardware, work: Rollout, assume: Assumptions) -> float:
    """Seconds to draw a batch, over the quickest split of the devices into equal engines. inf: nothing fits.

    An engine of a dense model keeps to one node unless it must be larger; experts spread over any number of devices.
    """
    sizes = [n for n in range(1, hardware.count + 1) if hardware.count % n == 0]
    times = {size: _drawn_by(shape, hardware, size, work, assume) for size in sizes}
    near = [time for size, time in times.items() if size <= NODE and math.isfinite(time)]
    return min(near) if near and not shape.experts else min(times.values())


def _drawn_by(shape: Shape, hardware: Hardware, size: int, work: Rollout, assume: Assumptions) -> float:
    """Seconds with engines of `size` devices each."""
    cached = shape.kv_numbers * work.bytes
    room = 0.9 * hardware.device.memory * size - shape.parameters * work.bytes
    if room < cached * (work.prompt + work.lengths.limit):
        return math.inf
    count = work.count * size / hardware.count
    at_once = room / (cached * (work.prompt + work.lengths.mean))
    batch = max(1.0, min(count, at_once, work.sequences or math.inf))
    engine = _Engine(shape, hardware, size, work.bytes, assume)
    full = (count - batch) * work.lengths.mean / batch if count > batch else 0.0
    steady = full * engine.step(batch, work.prompt + work.lengths.mean)
    return steady + _drain(engine, batch, work)


@dataclass(frozen=True, slots=True)
class _Engine:
    shape: Shape
    hardware: Hardware
    size: int
    bytes: int
    assume: Assumptions

    def step(self, batch: float, context: float) -> float:
        """Seconds of one decoding step of `batch` sequences with `context` tokens behind them on average."""
        shape, device = self.shape, self.hardware.device
        touched = 1 - (1 - shape.per_token / shape.experts) ** batch if shape.experts else 0.0
        weights = shape.parameters - shape.routed * (1 - touched)
        read = (weights + batch * context * shape.kv_numbers) * self.bytes / device.bandwidth
        compute = batch * shape.forward_flops(context) / device.flops
        return shape.layers * device.layer_s + (read + compute) / (self.size * self.assume.decode)


def _drain(engine: _Engine, batch: float, work: Rollout, points: int = 200) -> float:
    """Seconds until the last of `batch` sequences that begin together has ended; no new ones take their place."""
    total, width = 0.0, work.lengths.limit / points
    for i in range(points):
        position = (i + 0.5) * width
        alive = math.exp(-position / work.lengths.scale)
        left, anyone = batch * alive, 1 - (1 - alive) ** batch
        if anyone > 1e-9:
            total += width * anyone * engine.step(max(1.0, left / anyone), work.prompt + position)
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes over all devices, each part evenly split among them."""

    weights: float = 0.0
    optimizer: float = 0.0
    reference: float = 0.0
    activations: float = 0.0
    engine: float = 0.0
    cache: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.optimizer + self.reference + self.activations + self.engine + self.cache


def trainer_memory(
    shape: Shape, tokens: int, *, reference: bool, recompute: bool, half: bool, lora_rank: int = 0
) -> Memory:
    """What our trainer holds: fp32 weights, gradients and two Adam moments, activations of `tokens` in one pass.

    lora_rank: gradients and moments of an adapter only, on four square matrices a layer; the reference is the model
    without it. half: activations in bf16. recompute: only each layer's input is kept, and one layer's inside at a time.
    """
    kept = shape.layers * shape.hidden + shape.activations / shape.layers if recompute else shape.activations
    adapter = 8.0 * lora_rank * shape.hidden * shape.layers
    return Memory(
        weights=4.0 * (shape.parameters + adapter),
        optimizer=12.0 * (adapter or shape.parameters),
        reference=4.0 * (adapter or shape.parameters) if reference else 0.0,
        activations=(2.0 if half else 4.0) * tokens * kept,
    )


def engine_memory(shape: Shape, sequences: int, length: float, *, half: bool) -> tuple[float, float]:
    """Bytes of an engine's weights and of the cache of `sequences` with `length` tokens each."""
    size = 2.0 if half else 4.0
    return size * shape.parameters, size * shape.kv_numbers * sequences * length
