"""What a pipeline would take on named hardware: memory, time and money of each stage, with the assumptions told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.cost import (
    Assumptions,
    Lengths,
    Memory,
    Rollout,
    engine_memory,
    rollout_seconds,
    train_seconds,
    trainer_memory,
)
from pipelines.graph import Node
from pipelines.hardware import Hardware
from pipelines.plan import Row, align, duration
from pipelines.shapes import Shape, short
from pipelines.work import Work

GPU_TOKENS, CPU_TOKENS = 32768, 2048  # tokens of one forward pass where the config leaves it to the machine


@dataclass(frozen=True, slots=True)
class Estimate:
    """One stage on given hardware. Tokens are those trained on and those drawn; seconds is inf where nothing fits."""

    name: str
    model: Shape
    trained: float
    drawn: float
    memory: Memory
    seconds: float


def estimate(node: Node, work: Work, model: Shape, hardware: Hardware, assume: Assumptions) -> Estimate:
    """The work of one stage in tokens, bytes and seconds."""
    config: Any = node.config
    half = hardware.name != "cpu"
    lengths = Lengths(assume.mean(work.limit), work.limit)
    sequence = (
        float(work.limit) if work.fixed else lengths.mean if work.kind == "read" else assume.prompt + lengths.mean
    )
    context = work.limit / 2 if work.fixed else lengths.context
    trained = work.sequences * sequence if work.kind != "draw" else 0.0
    seconds, drawn, memory = 0.0, 0.0, Memory()
    if trained:
        before = assume.prompt if work.kind == "rl" else 0
        seconds += train_seconds(model, hardware, trained, before + context, assume, 3 + work.passes)
        tokens = min(trained, _pass_tokens(config, work, sequence, half))
        recompute = bool(getattr(config, "gradient_checkpointing", False))
        memory = trainer_memory(
            model,
            int(tokens),
            reference=getattr(config, "beta", 0) > 0,
            recompute=recompute,
            half=half,
            lora_rank=getattr(config, "lora_rank", 0),
        )
        if getattr(config, "rehearsal", "") == "logits":  # the model before it, which no adapter stands for
            memory = replace(memory, reference=4.0 * model.parameters)
    if work.kind != "read":
        batches = work.rollouts if work.kind == "rl" else work.models
        drawn = batches * work.batch * lengths.mean
        at_once = min(work.batch, config.max_num_seqs)
        task = Rollout(work.batch, lengths, assume.prompt, config.max_num_seqs, 2 if half else 4)
        seconds += batches * rollout_seconds(model, hardware, task, assume)
        weights, cache = engine_memory(model, at_once, assume.prompt + lengths.mean, half=half)
        copies = len(config.server_urls) or config.replicas
        memory = replace(memory, engine=copies * weights, cache=cache)
    return Estimate(node.name, model, trained, drawn, memory, seconds)


def _pass_tokens(config: Any, work: Work, sequence: float, half: bool) -> float:
    """Tokens that one forward pass of training holds."""
    if work.kind == "rl":
        return float(config.batch_tokens or (GPU_TOKENS if half else CPU_TOKENS))
    if work.fixed:
        return float(work.limit)
    return float(config.per_forward) * (work.limit if config.packing == "bfd" else sequence)


def estimates(rows: Sequence[Row], hardware: Hardware, price: float, fill: float) -> str:
    """Every stage of a plan whose work can be told, cached ones too, as text."""
    assume = Assumptions(fill=fill)
    found = [
        estimate(row.node, row.work, row.model, hardware, assume)
        for row in rows
        if row.node is not None and row.work is not None and row.model is not None
    ]
    blind = [row.name for row in rows if row.node is not None and row.model is None and _calls_a_model(row.node)]
    text = table(found, hardware, price, assume)
    return text + (f"\nno estimate for {', '.join(blind)}: the model's sizes are not known here" if blind else "")


def _calls_a_model(node: Node) -> bool:
    return "model" in node.inputs or "models" in node.inputs


def table(found: Sequence[Estimate], hardware: Hardware, price: float, assume: Assumptions) -> str:
    """The estimates as text: a row a stage, a sum, and what they rest on."""
    lines: list[Sequence[str]] = [("stage", "model", "trained", "drawn", "memory", "time", "hours", "cost")]
    for one in found:
        hours = hardware.count * one.seconds / 3600
        known = one.seconds != float("inf")
        lines.append(
            (
                one.name,
                one.model.told(),
                short(one.trained) if one.trained else "",
                short(one.drawn) if one.drawn else "",
                _size(one.memory.total, hardware),
                duration(one.seconds) if known else "does not fit",
                _number(hours) if known else "",
                f"${_number(hours * price)}" if known else "",
            )
        )
    seconds = sum(one.seconds for one in found if one.seconds != float("inf"))
    hours = hardware.count * seconds / 3600
    lines.append(("all", "", "", "", "", duration(seconds), _number(hours), f"${_number(hours * price)}"))
    head = f"On {hardware}, ${price:g} an hour each:"
    return "\n".join([head, align(lines), *sizes(found), "", *told(hardware, assume)])


def sizes(found: Sequence[Estimate]) -> list[str]:
    """What the largest stage holds, and the cache of each model: a line each."""
    if not found:
        return []
    largest = max(found, key=lambda one: one.memory.total)
    parts = {word.replace("optimizer", "gradients and Adam"): size for word, size in asdict(largest.memory).items()}
    held = ", ".join(f"{word} {_bytes(size)}" for word, size in parts.items() if size)
    lines = ["", f"memory of {largest.name}: {held}"]
    for model in dict.fromkeys(one.model for one in found):
        lines.append(f"cache of {model.kind}, {model.told()}: {_bytes(2 * model.kv_numbers)} a token in bf16")
    return lines


def told(hardware: Hardware, assume: Assumptions) -> list[str]:
    """The assumptions behind every number, a line each."""
    device = hardware.device
    peak = f"{device.flops / 1e12:g} TFLOP/s, {device.bandwidth / 1e12:g} TB/s, {device.memory / 1e9:g} GB"
    return [
        "Assumed, for every model and stage alike:",
        f"  {hardware.name}: {peak}, at least {1e3 * device.layer_s:.2f} ms a layer and step ({device.source})",
        f"  training at {assume.train:.1%} of peak (DeepSeek-V3), decoding at {assume.decode:.0%} above that floor "
        "(its inference system)",
        f"  sequences have {assume.fill:.1%} of the tokens they may have (--fill; R1's SFT set), exponentially spread; "
        f"prompts {assume.prompt}",
        "  memory: fp32 weights, gradients, Adam, reference, activations of one pass, engine, cache; evenly split",
        "  left out: start-up, weight sync, rewards, idle devices between phases",
    ]


def _size(total: float, hardware: Hardware) -> str:
    """Bytes over all devices, and how many devices that would fill where it is more than there are."""
    needed = -(-total // (0.9 * hardware.device.memory))
    return f"{_bytes(total)} (needs {needed:.0f})" if needed > hardware.count else _bytes(total)


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size / 1e3:.3g} kB"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
