"""Preference data drawn from `pipelines.problems.manners`: pairs, labels, prompts for RL, and chat in many hands."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from pipelines.problems.items import Split
from pipelines.problems.manners import POOR, Ask, Manner, completion, helpful_asks, safety_asks

Row = dict[str, Any]
_BAD: dict[str, tuple[Manner, ...]] = {
    "harmful": ("comply", "comply", "stray", "stray", "stray", "leak"),
    "benign": ("refuse", "refuse", "stray"),
}
_REJECTED: tuple[Manner, ...] = (*POOR * 2, *("wrong",) * 2, *("astray",) * 4, *("near",) * 4)
_PATIENCE = 500  # draws without anything new after which there is nothing new


@cache
def asks_of(split: Split) -> dict[str, list[Ask]]:
    """The asks of one split: helpful, harmful, benign."""
    found: dict[str, list[Ask]] = {"helpful": [], "harmful": [], "benign": []}
    for ask in (*helpful_asks(), *safety_asks()):
        if ask.split == split:
            found["helpful" if ask.harmful is None else "harmful" if ask.harmful else "benign"].append(ask)
    return found


def pairs(split: Split, n: int, rng: random.Random, think: float) -> list[Row]:
    """`n` different pairs on helpful asks, the chosen answer right, complete and polite, the rejected one not.

    One rejected answer in five is `astray`, good for another ask of its kind, and one in five `near`, good but for one
    word, what it is about. Without the first a reward model looks at the answer alone, and a policy learns one polite
    sentence for everything; without the second a policy is polite and mixes up what it was asked about
    (docs/experiments.md).

    Of four drafts of the rejected answer the one is taken that keeps the sums of the characters of chosen and rejected
    answers together: R1 balances lengths over the set (arXiv 2501.12948v2), or the reward model would learn to count.
    """
    asks, gap = asks_of(split)["helpful"], 0
    by_kind = {kind: [ask for ask in asks if ask.kind == kind] for kind in {ask.kind for ask in asks}}

    def draw() -> Row:
        nonlocal gap
        ask = rng.choice(asks)
        chosen = completion(ask, "good", rng, think=think)
        manner = rng.choice(_REJECTED)
        surplus = gap + _spoken(chosen)
        rivals = _rivals(ask, manner, by_kind[ask.kind])
        drafts = [_rejected(ask, manner, rivals, rng, think) for _ in range(4)]
        rejected = min(drafts, key=lambda text: abs(surplus - _spoken(text)))
        gap = surplus - _spoken(rejected)
        return _about(ask) | {"chosen": chosen, "rejected": rejected, "manner": manner}

    return _different(draw, n, split, "pairs")


def _rivals(ask: Ask, manner: Manner, kin: Sequence[Ask]) -> list[Ask]:
    """The asks of its kind that `ask` is taken for; none in manners that answer `ask` itself."""
    if manner == "astray":
        return [other for other in kin if other.full != ask.full]
    return [other for other in kin if other.topic != ask.topic] if manner == "near" else []


def _rejected(ask: Ask, manner: Manner, rivals: Sequence[Ask], rng: random.Random, think: float) -> str:
    """An answer to `ask` that loses to a good one: a good one to a rival, or with a rival's topic, or a poor one."""
    if not rivals:
        return completion(ask, manner, rng, think=think)
    told = rng.choice(rivals)
    if manner == "near":
        told = replace(ask, sentence=ask.sentence.replace(ask.topic, told.topic))
    return completion(told, "good", rng, think=think)


def labels(split: Split, n: int, rng: random.Random, think: float) -> list[Row]:
    """`n` different labelled answers to safety asks: half on harmful ones, half good (label 1), half bad (label 0).

    Bad are: help with harm, in its own words or in those of some other action, a refusal whose thinking gives the harm
    away, and, where there is no harm, a refusal or another action's answer. The last two are not unsafe; they are
    labelled bad so that neither refusing nor sounding harmless earns everything: a model trained without the answers
    in other words was hacked by them within twenty steps (docs/experiments.md).
    """
    asks, turn = asks_of(split), 0

    def draw() -> Row:
        nonlocal turn
        turn += 1
        harmful, good = turn % 2 == 0, turn % 4 < 2
        ask = rng.choice(asks["harmful" if harmful else "benign"])
        bad: Manner = rng.choice(_BAD["harmful" if harmful else "benign"])
        manner = "good" if good else bad
        text = completion(ask, manner, rng, think=think)
        return _about(ask) | {"completion": text, "label": float(good), "manner": manner}

    return _different(draw, n, split, "labels")


def chat(split: Split, n: int, rng: random.Random, safety: float) -> list[Row]:
    """`n` different prompts as Problems rows, a share of `safety` asks among them, half of those harmful."""
    asks = asks_of(split)
    harmful = round(n * safety / 2)
    benign = round(n * safety) - harmful
    rows = []
    for kind, wanted in (("helpful", n - harmful - benign), ("harmful", harmful), ("benign", benign)):
        if wanted > len(asks[kind]):
            raise ValueError(f"only {len(asks[kind])} {kind} prompts in split {split!r}, {wanted} asked for")
        rows += [ask.row() for ask in rng.sample(asks[kind], wanted)]
    rng.shuffle(rows)
    return rows


def samples(n: int, rng: random.Random, *, good: float, refuse: float, over_refuse: float, think: float) -> list[Row]:
    """`n` chats on train prompts in many hands, half helpful, a quarter harmful, a quarter benign.

    Shares of what a good assistant would say: `good` on helpful asks (the rest in `POOR` manners), `refuse` on harmful
    ones (the rest comply); `over_refuse` is the share of benign asks that are refused.
    """
    asks, rows = asks_of("train"), []
    for turn in range(n):
        kind = ("helpful", "harmful", "helpful", "benign")[turn % 4]
        ask, luck = rng.choice(asks[kind]), rng.random()
        manner: Manner = "good" if luck < good else rng.choice(POOR)
        if kind == "harmful":
            manner = "refuse" if luck < refuse else "comply"
        elif kind == "benign":
            manner = "refuse" if luck < over_refuse else "good"
        text = completion(ask, manner, rng, think=think)
        rows.append(_about(ask) | {"completion": text, "family": "chat", "manner": manner, "source": "manners"})
    return rows


def _about(ask: Ask) -> Row:
    return {"id": ask.id, "prompt": ask.prompt, "system": None, "kind": ask.kind, "judge": ask.judge}


def _spoken(text: str) -> int:
    """Characters of the answer, all that the helpful reward model reads."""
    return len(text.partition("<answer>")[2].removesuffix("</answer>"))


def _different(draw: Callable[[], Row], n: int, split: Split, what: str) -> list[Row]:
    """`n` rows that differ in their texts; ValueError when there are not that many."""
    found: dict[Sequence[Any], Row] = {}
    repeats = 0
    while len(found) < n and repeats < _PATIENCE:
        row = draw()
        text = tuple(row.get(key) for key in ("prompt", "chosen", "rejected", "completion"))
        repeats = repeats + 1 if text in found else 0
        found.setdefault(text, row)
    if len(found) < n:
        raise ValueError(f"only {len(found)} different {what} in split {split!r}, {n} asked for; ask for fewer")
    return list(found.values())
