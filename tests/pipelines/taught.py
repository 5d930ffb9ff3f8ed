"""A tiny model that has learnt a few answers by heart, and a context to run stages in: for the stage tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import Model, Problems, Samples, write_rows
from pipelines.context import Context

# One answer for both: to tell them apart by attention takes a model this small thousands of steps.
PROBLEMS: list[dict[str, Any]] = [
    {"id": key, "prompt": prompt, "answer": "6", "family": "math", "kind": "fact", "system": None}
    for key, prompt in (("double", "Double 3?"), ("half", "Half of 12?"))
]
SAMPLES = [
    {**row, "completion": f"<think>twice</think><answer>{row['answer']}</answer>", "source": "cold_start"}
    for row in PROBLEMS
]
SFT = {"epochs": 100, "lr": 1e-2, "batch": 2, "save_every": 0, "log_every": 25}
ENGINE = {"engine": "transformers", "max_tokens": 24, "rewards": {"math": 1.0}}


def context(folder: Path, seed: int = 0) -> Context:
    """A stage context with fresh folders below `folder`."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(folder / "out", seed, folder / "scratch")


def untrained(folder: Path) -> Model:
    """A random tiny DeepSeek-V3 with a tokenizer that knows the problems' words."""
    from models.checkpoint import save_model
    from models.tiny import build_config, build_model
    from models.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in SAMPLES], vocab_size=280)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    shape = build_config(len(tokenizer), hidden_size=64, layers=2, heads=2, expert_size=32, max_positions=64, **ids)
    save_model(build_model(shape, seed=1), tokenizer, folder)
    return Model(folder)


def problems(folder: Path) -> Problems:
    write_rows(folder, PROBLEMS)
    return Problems(folder)


def taught_model(factory: pytest.TempPathFactory) -> Model:
    """The model after the `sft` stage has taught it SAMPLES; made once per test run."""
    from pipelines.stages.sft import SftConfig, sft

    folder = factory.getbasetemp() / "taught"
    if not (folder / "out").exists():
        samples = Samples(folder / "samples")
        write_rows(samples, SAMPLES)
        made = sft(context(folder), SftConfig(**SFT), model=untrained(folder / "base"), samples=[samples])
        assert made == Model(folder / "out/model")
    return Model(folder / "out/model")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
