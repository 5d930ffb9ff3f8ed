"""`reward_model.json`: what one must know to ask a reward model as it was trained. No torch here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from models.chat import Judges, Template

FILE = "reward_model.json"


@dataclass(frozen=True, slots=True)
class RewardModelInfo:
    """How a reward model was made and is to be asked.

    kind: trained on pairs (helpful) or labels (safety). judges: what it sees of a completion. template: how prompt and
    judged text are rendered (`models.chat.render_judged`). max_length: of its training texts, tokens. lowest: the
    lowest score it gave on held-out texts (on training texts where none were held out). held_out: see
    `sft.reward_metrics`.
    """

    kind: Literal["pairs", "labels"]
    judges: Judges
    template: Template
    max_length: int
    lowest: float
    held_out: dict[str, Any] | None = None

    def write(self, folder: str | Path) -> None:
        """Put it beside the model."""
        (Path(folder) / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> RewardModelInfo:
        """Of a reward model's folder; ValueError, one line, where the file is missing or not ours."""
        file = Path(folder) / FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            info = cls(**content)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{file}: not a reward model's description ({error})") from error
        if info.judges not in ("answer", "whole") or info.template not in ("chat", "plain"):
            raise ValueError(f"{file}: judges {info.judges!r} or template {info.template!r} is not known")
        return info
