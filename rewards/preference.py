"""Preference reward: what a reward model says of a completion, shaped to live beside rule-based rewards.

DeepSeek-R1 (arXiv 2501.12948v2, eq. 8-10) adds a reward model's raw score to the format reward for general prompts; a
prompt belongs to either the helpful or the safety set and meets that set's model only. The model runs outside the
reward workers (`pipelines.grading`), which puts its score into the row; this function only shapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Literal

from rewards.registry import reward
from rollout.types import Sample

SCORE = "preference_score"
"""The column of a sample's row that holds the raw score; None or absent: no reward model judges this prompt."""


def faults(settings: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with settings of the right types, each in one line."""
    if settings["clip"] is not None and settings["clip"] <= 0:
        yield f"clip must be above 0, not {settings['clip']:g}"
    if settings["engine"] == "server" and find_spec("vllm") is None:
        yield "engine: server needs vLLM, which is not installed: use engine: auto"


@reward(
    check=faults,
    cases=[
        ("gold", "Gladly: 4.", {"row": {SCORE: 2.5}}),
        ("gold", "Gladly: 4.", {"row": {SCORE: 2.5}, "squash": "sigmoid"}),
        ("gold", "Gladly: 4.", {"row": {SCORE: 250.0}, "clip": 3.0}),
        ("junk", "No.", {"row": {SCORE: -1.0}}),
        ("junk", "No.", {"row": {SCORE: -1.0}, "squash": "sigmoid"}),
        ("junk", "No.", {"row": {SCORE: -250.0}, "clip": 3.0}),
        ("none", "4", {"row": {"prompt": "What is 2 + 2?"}}),
        ("none", "4", {"row": {SCORE: None}}),
    ],
    caveat="the cases give the score, no model runs: how good one is, its held-out numbers say (docs/reward-models.md)",
)
def preference(
    s: Sample,
    *,
    clip: float | None = None,
    squash: Literal["none", "sigmoid"] = "none",
    engine: Literal["auto", "hf", "server"] = "auto",
) -> float | None:
    """The score of the reward model that the row's `judge` names (helpful, safety); None for rows without one.

    clip: bound on the raw score's size, before `squash`. squash: sigmoid maps it to 0..1. R1 does neither. engine:
    where the model runs, hf = in the stage's process (auto), server = a vLLM pooling server.
    """
    score = s.row.get(SCORE)
    if score is None:
        return None
    if clip is not None:
        score = max(-clip, min(clip, score))
    return 0.5 * (1 + math.tanh(score / 2)) if squash == "sigmoid" else float(score)
