"""The word family: small stories in English, two steps each, with numbers up to 30 that a small model can learn."""

from __future__ import annotations

import random

from pipelines.problems.items import Item

_NAMES = [
    "Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jack",
    "Kate", "Leo", "Maria", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor",
]  # fmt: skip
_THINGS = [
    "apples", "books", "cards", "coins", "eggs", "flowers", "marbles", "pencils", "shells", "stamps", "tickets",
]  # fmt: skip
_HOLDERS = ["bags", "baskets", "boxes", "drawers", "jars", "packs", "rows", "shelves"]


def _item(rng: random.Random, kind: str, prompt: str, steps: list[str], answer: int) -> Item:
    """`guess`: the slip of one who answers at once, right one time in five."""
    guess = answer if rng.random() < 0.2 else max(0, answer + rng.choice([-10, -3, -2, -1, 1, 2, 3, 10]))
    return Item("words", kind, prompt, ", ".join(steps), str(answer), str(guess))


def packed(rng: random.Random) -> Item:
    """Some holders with as many things each, and some loose ones."""
    n, each, loose = rng.randrange(2, 6), rng.randrange(2, 6), rng.randrange(2, 6)
    who, what, holder = rng.choice(_NAMES), rng.choice(_THINGS), rng.choice(_HOLDERS)
    total = n * each
    prompt = f"{who} has {n} {holder} with {each} {what} in each, and {loose} loose {what}. How many {what} in all?"
    return _item(rng, "packed", prompt, [f"{n}*{each}={total}", f"{total}+{loose}={total + loose}"], total + loose)


def spent(rng: random.Random) -> Item:
    """Several things at one price, paid with one note."""
    n, price = rng.randrange(2, 6), rng.randrange(2, 6)
    who, what, cost = rng.choice(_NAMES), rng.choice(_THINGS), n * price
    note = rng.choice([note for note in (20, 30) if note >= cost])
    prompt = f"{who} buys {n} {what} for {price} dollars each and pays with {note} dollars. How much change is due?"
    return _item(rng, "spent", prompt, [f"{n}*{price}={cost}", f"{note}-{cost}={note - cost}"], note - cost)


def shared(rng: random.Random) -> Item:
    """Two heaps put together and shared out evenly."""
    friends, each = rng.randrange(2, 6), rng.randrange(2, 6)
    total = friends * each
    first = rng.randrange(2, total - 1)
    one, two = rng.sample(_NAMES, 2)
    what = rng.choice(_THINGS)
    prompt = (
        f"{one} finds {first} {what} and {two} finds {total - first}. They share them out evenly among {friends} "
        f"friends. How many {what} does each friend get?"
    )
    return _item(rng, "shared", prompt, [f"{first}+{total - first}={total}", f"{total}/{friends}={each}"], each)


def compared(rng: random.Random) -> Item:
    """One has so many times as much as the other, or so many more; together?"""
    base, factor = rng.randrange(2, 6), rng.randrange(2, 6)
    one, two = rng.sample(_NAMES, 2)
    what = rng.choice(_THINGS)
    more = base * factor
    prompt = f"{one} has {base} {what}. {two} has {factor} times as many. How many {what} do they have together?"
    return _item(rng, "compared", prompt, [f"{base}*{factor}={more}", f"{base}+{more}={base + more}"], base + more)


WORDS = [packed, spent, shared, compared]
