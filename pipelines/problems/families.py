"""The generated families by the word that `source:` has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.problems.arithmetic import MATH
from pipelines.problems.bilingual import ENGLISH, GERMAN
from pipelines.problems.functions import CODE
from pipelines.problems.items import Generator
from pipelines.problems.word_problems import WORDS

GENERATED: Mapping[str, Sequence[Generator]] = {
    "arithmetic": MATH,
    "python": CODE,
    "words": WORDS,
    "german": GERMAN,
    "english": ENGLISH,
}
