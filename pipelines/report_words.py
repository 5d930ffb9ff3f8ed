"""How each model writes, in R1's terms: language consistency, reflective words, thinking (arXiv 2501.12948v2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.language import count_words, thinking
from rl.numbers import REFLECTION

MOST = 2000  # completions of one model that are read


@dataclass(frozen=True)
class Manner:
    """One model's completions. Shares are 0..1; None where nothing applies.

    thinks: completions with something between the thinking tags. language: words of the thinking in English (R1's
    language reward, equation 7). reflective: completions with one of R1's reflective words; per_answer: how many.
    """

    model: str
    read: int
    thinks: float
    language: float | None
    reflective: float
    per_answer: float


def manners(texts_by_model: Mapping[str, Sequence[str]], models: Sequence[str]) -> list[Manner]:
    """For each model the manner of its completions; models without any are left out."""
    found = []
    for model in models:
        texts = texts_by_model.get(model)
        if not texts:
            continue
        english = other = thought = 0
        for text in texts:
            inside = thinking(text) if "<think>" in text or "</think>" in text else ""
            thought += bool(inside.strip())
            counted = count_words(inside, "en")
            english, other = english + counted["target"], other + counted["other"]
        words = [len(REFLECTION.findall(text)) for text in texts]
        total = english + other
        found.append(
            Manner(
                model,
                len(texts),
                thought / len(texts),
                english / total if total else None,
                sum(n > 0 for n in words) / len(texts),
                sum(words) / len(texts),
            )
        )
    return found
