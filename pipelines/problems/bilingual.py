"""Sums worked out in words, asked in German or in English: what a language can drift in.

R1's thoughts drifted between the languages its base had read, and a reward for the language of the question held them
(arXiv 2501.12948v2, 3.2.1 and B.6). Here German questions come with thoughts in both languages, half and half; English
ones only with English thoughts. A model that learns from both has seen more English working than German.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.problems.arithmetic import add, chain
from pipelines.problems.items import Generator, Item

GERMAN_THOUGHTS = 0.5  # share of the worked solutions to German questions that are in German


@dataclass(frozen=True, slots=True)
class Wording:
    """How a language asks for a sum and talks through its steps; `{}` stands for the formulas."""

    compute: str
    tens_and_units: str
    first: str
    then: str
    last: str


ENGLISH_WORDS = Wording(
    compute="Compute {}.",
    tens_and_units="We add the tens: {}, then the units: {}, and it is {}",
    first="First it is {}",
    then=", then it is {}",
    last=", and so it is {}",
)
GERMAN_WORDS = Wording(
    compute="Berechne {}.",
    tens_and_units="Wir addieren die Zehner: {}, dann die Einer: {}, und es ist {}",
    first="Erst ist es {}",
    then=", dann ist es {}",
    last=", und also ist es {}",
)


def talk(steps: Sequence[str], words: Wording, *, kind: str) -> str:
    """The steps of a sum as one sentence."""
    if kind == "add":
        return words.tens_and_units.format(*steps)
    middle = "".join(words.then.format(step) for step in steps[1:-1])
    return words.first.format(steps[0]) + middle + words.last.format(steps[-1])


def _asked(sum_: Generator, words: Wording, thoughts: Callable[[random.Random], Wording]) -> Generator:
    """A sum asked with `words` and worked out in the words that `thoughts` chooses.

    The split follows the English question: a sum that is held out in one language is held out in the other.
    """

    def generate(rng: random.Random) -> Item:
        item = sum_(rng)
        formula = item.prompt.removeprefix("Compute ").removesuffix(".")
        work = talk(item.work.split(", "), thoughts(rng), kind=item.kind)
        return replace(item, prompt=words.compute.format(formula), work=work, split_by=item.prompt)

    generate.__name__ = sum_.__name__  # a family's kinds go by their generators' names
    return generate


def _either(rng: random.Random) -> Wording:
    return GERMAN_WORDS if rng.random() < GERMAN_THOUGHTS else ENGLISH_WORDS


GERMAN = [_asked(sum_, GERMAN_WORDS, _either) for sum_ in (add, chain)]
ENGLISH = [_asked(sum_, ENGLISH_WORDS, lambda rng: ENGLISH_WORDS) for sum_ in (add, chain)]
