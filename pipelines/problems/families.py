"""The generated families by the word that `source:` has for them, all of a family or some of its kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.problems.arithmetic import MATH
from pipelines.problems.bilingual import ENGLISH, GERMAN
from pipelines.problems.functions import CODE
from pipelines.problems.items import Generator
from pipelines.problems.stubs import STUBS
from pipelines.problems.word_problems import WORDS

GENERATED: Mapping[str, Sequence[Generator]] = {
    "arithmetic": MATH,
    "python": CODE,
    "words": WORDS,
    "stubs": STUBS,
    "german": GERMAN,
    "english": ENGLISH,
}


class UnknownFamily(ValueError):
    """A word that is no generated family; another kind of source may be meant."""


def generators_of(source: str) -> list[Sequence[Generator]]:
    """The generators of each family in `FAMILY[:KIND,KIND][+FAMILY...]`; ValueError says which word is unknown,
    UnknownFamily where it is a family's."""
    return [_family(part) for part in source.split("+")]


def _family(part: str) -> Sequence[Generator]:
    word, colon, listed = part.partition(":")
    if word not in GENERATED:
        raise UnknownFamily(f"source {word!r} is none of {', '.join(GENERATED)}")
    kinds = {generator.__name__: generator for generator in GENERATED[word]}
    chosen = listed.split(",") if colon else list(kinds)
    unknown = [kind for kind in chosen if kind not in kinds]
    if unknown:
        raise ValueError(f"source {part!r}: {unknown[0]!r} is none of {word}'s kinds: {', '.join(kinds)}")
    return [kinds[kind] for kind in dict.fromkeys(chosen)]
