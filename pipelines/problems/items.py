"""What a problem generator yields, and the split every item belongs to by its content alone."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "dev", "test"]


def split_of(prompt: str) -> Split:
    """10% test, 5% dev, the rest train, decided by the prompt alone.

    No seed enters, so a problem held out once is held out for every seed, and the pre-training text of the shipped
    base (train problems only) cannot contain it.
    """
    bucket = int(hashlib.sha256(b"split:" + prompt.encode()).hexdigest()[:8], 16) % 20
    return "test" if bucket < 2 else "dev" if bucket == 2 else "train"


@dataclass(frozen=True, slots=True)
class Item:
    """One generated problem with a worked solution and the kind of guess a hasty writer would blurt out."""

    family: str
    kind: str
    prompt: str
    work: str
    answer: str
    guess: str
    tests: dict[str, Any] | None = None
    split_by: str = ""  # the prompt that decides the split, where this is another wording of it

    @property
    def id(self) -> str:
        """Content hash: the same problem has the same id in every run."""
        return f"{self.kind}-{hashlib.sha256(self.prompt.encode()).hexdigest()[:12]}"

    @property
    def split(self) -> Split:
        """See `split_of`."""
        return split_of(self.split_by or self.prompt)

    def row(self) -> dict[str, Any]:
        """The Problems row of this item."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "answer": self.answer,
            "family": self.family,
            "kind": self.kind,
            "tests": json.dumps(self.tests) if self.tests else None,
            "system": None,
        }

    def completion(self, *, worked: bool) -> str:
        """The chat completion: the worked solution, or the answer with no thinking at all."""
        answer = f"\n```python\n{self.answer}\n```\n" if self.family == "code" else self.answer
        return f"<think>{self.work if worked else ''}</think><answer>{answer}</answer>"


Generator = Callable[[random.Random], Item]


def draw(generators: Sequence[Generator], rng: random.Random, split: Split | None = None) -> Iterator[Item]:
    """Endless items, one generator after another in random order, restricted to one split if given."""
    while True:
        item = rng.choice(generators)(rng)
        if split is None or item.split == split:
            yield item


def draw_distinct(generators: Sequence[Generator], rng: random.Random, split: Split, n: int) -> list[Item]:
    """`n` different items of one split; ValueError when the generators cannot give that many."""
    found: dict[str, Item] = {}
    repeats = 0
    if n == 0:
        return []
    for item in draw(generators, rng, split):
        repeats = repeats + 1 if item.id in found else 0
        found.setdefault(item.id, item)
        if len(found) == n:
            return list(found.values())
        if repeats > 500:  # nothing new in 500 draws: over 99% of what there is has been seen
            break
    raise ValueError(f"only {len(found)} different problems in split {split!r}, {n} asked for; ask for fewer")
