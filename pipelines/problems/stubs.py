"""The stub family: unfinished Python functions with names and docstrings as people write them, for pretrained models.

The form is HumanEval's (arXiv 2107.03374), the functions are smaller and of our own: a pretrained model of 100 M
parameters can finish some of them. The split goes by what a function is to do: none that is held out is trained on,
not with other examples either.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipelines.problems.functions import call_tests
from pipelines.problems.items import Item

HIDDEN_CALLS = 10
SHOWN_CALLS = 2

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_LETTERS = "abcdeghilmnoprstu"
_TEXTS = (
    "the cat sat on a mat", "a small red bird", "summer rain", "bread and butter", "good morning", "open the old gate",
    "banana", "letter", "moon", "little green apples", "seven grey horses", "tomato soup", "an egg", "under a tree",
    "paper", "blue", "most people sleep at night", "pencil case",
)  # fmt: skip

Template = tuple[str, str, str, str]
"""Name, docstring and returned expression with `{n}` (or `{c}`, a letter) to fill in, and a hasty expression."""

_OF_NUMBERS: list[Template] = [
    ("add_{w}", "Return x plus {n}.", "x + {n}", "x * {n}"),
    ("subtract_{w}", "Return x minus {n}.", "x - {n}", "{n} - x"),
    ("multiply_by_{w}", "Return x times {n}.", "x * {n}", "x + {n}"),
    ("power_of_{w}", "Return x to the power of {n}.", "x ** {n}", "x * {n}"),
    ("is_divisible_by_{w}", "Return True if x is divisible by {n}, else False.", "x % {n} == 0", "x / {n} == 0"),
    ("is_greater_than_{w}", "Return True if x is greater than {n}, else False.", "x > {n}", "x >= {n}"),
    ("remainder_by_{w}", "Return the remainder of x divided by {n}.", "x % {n}", "x // {n}"),
    ("square_plus_{w}", "Return the square of x, plus {n}.", "x ** 2 + {n}", "(x + {n}) ** 2"),
    ("double_minus_{w}", "Return twice x, minus {n}.", "2 * x - {n}", "2 * (x - {n})"),
    ("distance_to_{w}", "Return how far x is from {n}.", "abs(x - {n})", "x - {n}"),
]
_OF_LISTS: list[Template] = [
    ("sum_above_{w}", "Return the sum of the numbers greater than {n}.",
     "sum(x for x in numbers if x > {n})", "sum(numbers)"),
    ("count_below_{w}", "Return how many of the numbers are less than {n}.",
     "len([x for x in numbers if x < {n}])", "len(numbers) < {n}"),
    ("multiples_of_{w}", "Return a list of the numbers that are divisible by {n}.",
     "[x for x in numbers if x % {n} == 0]", "[x * {n} for x in numbers]"),
    ("add_{w}_to_all", "Return a list with {n} added to each number.",
     "[x + {n} for x in numbers]", "numbers + {n}"),
    ("multiply_all_by_{w}", "Return a list with each number multiplied by {n}.",
     "[x * {n} for x in numbers]", "numbers * {n}"),
    ("without_{w}", "Return a list of the numbers that are not equal to {n}.",
     "[x for x in numbers if x != {n}]", "numbers.remove({n})"),
    ("contains_{w}", "Return True if {n} is one of the numbers, else False.",
     "{n} in numbers", "numbers == {n}"),
    ("largest_plus_{w}", "Return the largest of the numbers, plus {n}.",
     "max(numbers) + {n}", "max(numbers + {n})"),
    ("smallest_times_{w}", "Return the smallest of the numbers, times {n}.",
     "min(numbers) * {n}", "min(numbers)"),
    ("total_minus_{w}", "Return the sum of the numbers, minus {n}.",
     "sum(numbers) - {n}", "sum(numbers - {n})"),
]  # fmt: skip
_OF_TEXTS: list[Template] = [
    ("count_{c}", "Return how often the letter '{c}' occurs in the text.", "text.count('{c}')", "len('{c}')"),
    ("starts_with_{c}", "Return True if the text starts with the letter '{c}', else False.",
     "text.startswith('{c}')", "'{c}' in text"),
    ("ends_with_{c}", "Return True if the text ends with the letter '{c}', else False.",
     "text.endswith('{c}')", "text[0] == '{c}'"),
    ("remove_{c}", "Return the text without the letter '{c}'.", "text.replace('{c}', '')", "text.remove('{c}')"),
    ("upper_{c}", "Return the text with every '{c}' made upper case.",
     "text.replace('{c}', '{c}'.upper())", "text.upper()"),
    ("contains_{c}", "Return True if the letter '{c}' is in the text, else False.", "'{c}' in text", "text == '{c}'"),
    ("first_{w}_letters", "Return the first {n} characters of the text.", "text[:{n}]", "text[{n}]"),
    ("last_{w}_letters", "Return the last {n} characters of the text.", "text[-{n}:]", "text[{n}:]"),
    ("repeat_{w}_times", "Return the text repeated {n} times.", "text * {n}", "text + {n}"),
    ("longer_than_{w}", "Return True if the text has more than {n} characters, else False.",
     "len(text) > {n}", "text > {n}"),
    ("words_longer_than_{w}", "Return a list of the words with more than {n} letters.",
     "[word for word in text.split() if len(word) > {n}]", "text.split({n})"),
]  # fmt: skip


def as_task(stub: str) -> str:
    """The question that asks for a whole function, worded differently from the one that asks HumanEval's."""
    return f"Finish this Python function and give all of it in a ```python block.\n\n```python\n{stub}\n```"


def _item(
    rng: random.Random, kind: str, argument: str, templates: list[Template], draw: Callable[[int], list[Any]]
) -> Item:
    """A template filled in, with examples; expected outputs come from running its expression on what `draw` gives."""
    n, letter = rng.randrange(2, 10), rng.choice(_LETTERS)
    name, does, expression, hasty = (text.format(n=n, c=letter, w=_NUMBERS[n]) for text in rng.choice(templates))
    function = eval(f"lambda {argument}: {expression}")  # our own template, never a model's text
    values = draw(SHOWN_CALLS + HIDDEN_CALLS)
    shown = "\n".join(f"    >>> {name}({v!r})\n    {function(v)!r}" for v in values[:SHOWN_CALLS])
    head = f"def {name}({argument}):"
    tests = call_tests(name, function, values[SHOWN_CALLS:])
    guess = expression if rng.random() < 0.2 else hasty
    work = f"{does.removeprefix('Return ').removesuffix('.')}: {expression}"
    prompt = as_task(f'{head}\n    """{does}\n\n{shown}\n    """')
    body = f"{head}\n    return "
    return Item("code", kind, prompt, work, body + expression, body + guess, tests, split_by=head + does)


def numbers(rng: random.Random) -> Item:
    """One number in, a number or a truth value out."""
    return _item(rng, "numbers", "x", _OF_NUMBERS, lambda k: rng.sample(range(31), k))


def listed(rng: random.Random) -> Item:
    """A list of numbers in; a list, a number or a truth value out."""

    def draw(k: int) -> list[list[int]]:
        return [[rng.randrange(0, 13) for _ in range(rng.randrange(3, 8))] for _ in range(k)]

    return _item(rng, "listed", "numbers", _OF_LISTS, draw)


def texts(rng: random.Random) -> Item:
    """A text in; a text, a list of words, a number or a truth value out."""
    return _item(rng, "texts", "text", _OF_TEXTS, lambda k: rng.sample(_TEXTS, k))


STUBS = [numbers, listed, texts]
