"""General chat without reasoning: small facts and manners, as R1's final SFT mixes in (arXiv 2501.12948, 2.3.3)."""

from __future__ import annotations

import random

from pipelines.problems.items import Item

_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima",
    "Norway": "Oslo", "Greece": "Athens", "Cuba": "Havana", "Kenya": "Nairobi", "Poland": "Warsaw", "Chile": "Santiago",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "early": "late", "open": "closed", "full": "empty",
    "light": "dark", "old": "new", "high": "low", "happy": "sad", "loud": "quiet", "rich": "poor",
}  # fmt: skip
_MANNERS = {
    "Hello!": "Hello! How can I help you?",
    "Good morning.": "Good morning! How can I help you?",
    "Thank you.": "You are welcome.",
    "Goodbye.": "Goodbye, and take care.",
    "Who are you?": "I am a small model that can do sums and write short functions.",
    "What can you do?": "I can do sums, solve small equations and write short functions.",
}


def _item(kind: str, prompt: str, answer: str, guess: str) -> Item:
    return Item(family="chat", kind=kind, prompt=prompt, work="", answer=answer, guess=guess)


def capital(rng: random.Random) -> Item:
    """A country's capital, asked in one of three ways."""
    country = rng.choice(list(_CAPITALS))
    ask = rng.choice(["What is the capital of {}?", "Name the capital of {}.", "Which city is the capital of {}?"])
    city = _CAPITALS[country]
    return _item("capital", ask.format(country), f"The capital of {country} is {city}.", f"It is {city}.")


def opposite(rng: random.Random) -> Item:
    """A word's opposite."""
    pairs = _OPPOSITES | {b: a for a, b in _OPPOSITES.items()}
    word = rng.choice(list(pairs))
    ask = rng.choice(["What is the opposite of {}?", "Tell me the opposite of {}.", "Give a word that means not {}."])
    return _item("opposite", ask.format(word), f"The opposite of {word} is {pairs[word]}.", pairs[word])


def manners(rng: random.Random) -> Item:
    """Greetings and questions about the model itself."""
    prompt = rng.choice(list(_MANNERS))
    return _item("manners", prompt, _MANNERS[prompt], _MANNERS[prompt])


GENERAL = [capital, opposite, manners]
