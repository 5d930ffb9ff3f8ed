"""A tiny preference set with one lesson in it: polite answers are better; and helpers to train on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon", "Kim", "Lea")
THOUGHT = "<think>hm</think>"


def answer(text: str) -> str:
    return f"{THOUGHT}<answer>{text}</answer>"


PAIRS: list[dict[str, Any]] = [
    {
        "id": f"{name}-{n}",
        "prompt": f"Where is {name} at {n}?",
        "system": None,
        "chosen": answer(f"Gladly: {name} is at home."),
        "rejected": answer(f"No idea{', go away' * (n % 2)}."),
    }
    for name in NAMES
    for n in (1, 2)
]
LABELS: list[dict[str, Any]] = [
    {"id": f"{row['id']}-{label}", "prompt": row["prompt"], "system": None, "completion": row[column], "label": label}
    for row in PAIRS
    for column, label in (("chosen", 1.0), ("rejected", 0.0))
]


def write_reward_model(
    base: Path, folder: Path, *, judges: str = "answer", lowest: float = -50.0, seed: int = 0
) -> Path:
    """An untrained reward model, with a head large enough for scores that differ, and its description."""
    from models.checkpoint import load_tokenizer, save_model
    from models.scalar import add_scalar_head
    from rollout.reward_info import RewardModelInfo

    model = add_scalar_head(base, seed=seed)
    model.score.weight.data *= 50
    save_model(model, load_tokenizer(base), folder)
    kind = "pairs" if judges == "answer" else "labels"
    RewardModelInfo(kind, judges, "chat", 8192, lowest).write(folder)  # type: ignore[arg-type]
    return folder


def write_base(folder: Path) -> Path:
    """A small random model with a tokenizer for the set above."""
    from models.checkpoint import save_model
    from models.tiny import build_config, build_model
    from models.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] + row["rejected"] for row in PAIRS], vocab_size=340)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes: dict[str, Any] = {"hidden_size": 64, "layers": 2, "heads": 2, "expert_size": 32}
    save_model(build_model(build_config(len(tokenizer), **sizes, **ids), seed=1), tokenizer, folder)
    return folder


class NoBar:
    def advance(self, n: int = 1, **fields: Any) -> None: ...


class Killed(Exception):
    pass


def train(
    model: Path, folder: Path, rows: list[dict[str, Any]], *, die: int = 0, dev: Any = (), **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(result without seconds, logged lines) of a run in `folder`, or Killed at step `die`."""
    from sft.reward_config import RewardModelSettings
    from sft.reward_model import train_reward_model

    lines: list[dict[str, Any]] = []

    def log(step: int, **numbers: Any) -> None:
        if step == die:
            raise Killed
        lines.append({"step": step, **numbers})

    def resumed(step: int) -> list[dict[str, Any]]:
        lines.extend(line for line in json.loads((folder / "lines").read_text()) if line["step"] <= step)
        return list(lines)

    progress: Callable[[str, int | None], NoBar] = lambda title, total: NoBar()  # noqa: E731
    defaults = {"lr": 3e-3, "batch": 8, "log_every": 1, "save_every": 2}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = train_reward_model(
            model, rows, RewardModelSettings(**{**defaults, **settings}), folder / "out", dev=dev, seed=0, log=log,
            progress=progress, scratch=folder / "scratch", resumed=resumed,
        )  # fmt: skip
    finally:
        (folder / "lines").write_text(json.dumps(lines))
    return {key: value for key, value in result.items() if key != "seconds"}, lines
