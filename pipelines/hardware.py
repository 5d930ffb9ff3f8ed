"""Devices that `r1 plan --hardware` knows, by their published figures, and the words for several of them: `8xh800`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.source import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator. flops: peak dense FLOP/s in bf16. bandwidth: memory, bytes/s. memory: bytes. source: of these.

    layer_s: seconds of one layer in one decoding step that no batch size takes away (launches, communication).
    """

    flops: float
    bandwidth: float
    memory: float
    source: str
    layer_s: float = 1 / 60 / 61


# The floor of a decoding step: DeepSeek-V3, 61 layers served across nodes, gives one reader 60 tokens/s (release note
# of 2024-12-26; arXiv 2505.09343, 2.3.2, puts the limit of that network at 67).
DEVICES = {
    "a100": Device(312e12, 2.04e12, 80e9, "NVIDIA A100 80GB SXM data sheet"),
    "h20": Device(148e12, 4.0e12, 96e9, "NVIDIA H20 data sheet"),
    "h100": Device(989e12, 3.35e12, 80e9, "NVIDIA H100 SXM data sheet"),
    "h800": Device(989e12, 3.35e12, 80e9, "as H100 SXM, with half its NVLink"),
    "h200": Device(989e12, 4.8e12, 141e9, "NVIDIA H200 SXM data sheet"),
    "b200": Device(2250e12, 8.0e12, 180e9, "NVIDIA DGX B200 data sheet"),
    # One core of the machine in docs/experiments.md, fp32: two 512-bit fused multiply-adds a cycle at 2.7 GHz, memory
    # shared by the cores; vLLM's eager step takes 10 ms a layer there.
    "cpu": Device(172e9, 10e9, 12e9, "one Xeon core, measured on the tiny base", layer_s=0.010),
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """`count` devices of one name."""

    name: str
    count: int

    @property
    def device(self) -> Device:
        return DEVICES[self.name]

    def __str__(self) -> str:
        return f"{self.count} x {self.name}"


def parse_hardware(text: str) -> Hardware:
    """`8xh800`, `h100`, `2xcpu`. ConfigError names the devices that are known."""
    match = re.fullmatch(r"(?:([1-9]\d*)x)?([a-z][a-z0-9]*)", text.strip().lower())
    if match is None or match[2] not in DEVICES:
        bare = re.sub(r"^\d+x", "", text.strip().lower())
        hint = "the count begins at 1" if bare in DEVICES else did_you_mean(bare, DEVICES)
        raise ConfigError([f"--hardware {text}: write COUNTxDEVICE, as in 8xh800 ({hint})"])
    return Hardware(match[2], int(match[1] or 1))
