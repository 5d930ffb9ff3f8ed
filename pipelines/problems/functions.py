"""The code family: write a small Python function from a description and an example; hidden calls grade it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipelines.problems.items import Item

HIDDEN_CALLS = 6


def _slip(rng: random.Random, n: int) -> int:
    """A constant as a hasty writer would put it: right one time in five."""
    return n if rng.random() < 0.2 else max(1, n + rng.choice([-3, -2, -1, 1, 2, 3]))


def call_tests(name: str, function: Callable[[Any], Any], inputs: list[Any]) -> dict[str, Any]:
    """The hidden calls of a function with one argument; `function` says what is expected of each."""
    outputs = [function(value) for value in inputs]
    return {"type": "call", "fn_name": name, "inputs": [[value] for value in inputs], "outputs": outputs}


def _item(kind: str, prompt: str, work: str, code: tuple[str, str], guess: str, inputs: list[Any]) -> Item:
    """`code` = (argument name, returned expression); the expected outputs come from running the expression."""
    argument, expression = code
    function = eval(f"lambda {argument}: {expression}")  # our own generated expression, never a model's text
    tests = call_tests("f", function, inputs)

    def body(text: str) -> str:
        return f"def f({argument}):\n    return {text}"

    return Item("code", kind, prompt, work, body(expression), body(guess), tests)


def linear(rng: random.Random) -> Item:
    """Find a*x+b from its value at 0 and at one other point."""
    a, b, i = rng.randrange(2, 10), rng.randrange(1, 10), rng.randrange(2, 13)
    high = a * i + b
    shown = [f"f(0)={b}", f"f({i})={high}"]
    rng.shuffle(shown)
    prompt = f"Write f(x)=a*x+b with {shown[0]} and {shown[1]}."
    work = f"b={b}, {high}-{b}={a * i}, {a * i}/{i}={a}"
    guess = f"{_slip(rng, a)}*x+{_slip(rng, b)}"
    inputs = rng.sample(range(-20, 50), HIDDEN_CALLS)
    return _item("linear", prompt, work, ("x", f"{a}*x+{b}"), guess, inputs)


def steps(rng: random.Random) -> Item:
    """Three operations one after another, written as one expression with the brackets right."""
    names, partial, hasty = [], "x", "x"
    thoughts = []
    for n in rng.sample(range(2, 10), 3):
        kind = rng.choice(["add", "minus", "times"])
        names.append(f"{kind} {n}")
        symbol = {"add": "+", "minus": "-", "times": "*"}[kind]
        needs_brackets = kind == "times" and partial[-2:-1] in "+-" and partial != "x"
        partial = f"({partial}){symbol}{n}" if needs_brackets else f"{partial}{symbol}{n}"
        hasty = f"{hasty}{symbol}{_slip(rng, n)}"
        thoughts.append(f"{names[-1]}: {partial}")
    sample = rng.randrange(1, 6)
    shown = eval(f"lambda x: {partial}")(sample)
    prompt = f"Write f(x): {', '.join(names)}. For example f({sample})={shown}."
    inputs = rng.sample(range(-20, 50), HIDDEN_CALLS)
    return _item("steps", prompt, ", ".join(thoughts), ("x", partial), hasty, inputs)


_FILTERS = {
    "above": "v>{n}",
    "below": "v<{n}",
    "divisible by": "v%{n}==0",
}
_MAPS = {"doubled": "v*2", "tripled": "v*3", "squared": "v*v", "plus {n}": "v+{n}", "minus {n}": "v-{n}"}
_REDUCTIONS = {"sum": "sum({})", "sorted list": "sorted({})", "count": "len({})", "list": "{}"}


def lists(rng: random.Random) -> Item:
    """Keep some items of a list, change each, and reduce: one comprehension."""
    keep, change, reduce_ = rng.choice(list(_FILTERS)), rng.choice(list(_MAPS)), rng.choice(list(_REDUCTIONS))
    n, m = rng.randrange(2, 10), rng.randrange(1, 10)
    test, mapped = _FILTERS[keep].format(n=n), _MAPS[change].format(n=m)
    prompt = f"Write f(a): the {reduce_} of items {keep} {n}, each {change.format(n=m)}."

    def comprehension(mapped: str, test: str, reduction: str) -> str:
        return _REDUCTIONS[reduction].format(f"[{mapped} for v in a if {test}]")

    wrong_test = _FILTERS[rng.choice(list(_FILTERS))].format(n=_slip(rng, n))
    wrong_map = mapped if rng.random() < 0.4 else _MAPS[rng.choice(list(_MAPS))].format(n=_slip(rng, m))
    guess = comprehension(wrong_map, wrong_test, rng.choice([reduce_, reduce_, rng.choice(list(_REDUCTIONS))]))
    inputs: list[Any] = [[]] + [
        [rng.randrange(0, 13) for _ in range(rng.randrange(3, 9))] for _ in range(HIDDEN_CALLS - 1)
    ]
    work = f"keep {test}, each {mapped}, {reduce_}"
    return _item("lists", prompt, work, ("a", comprehension(mapped, test, reduce_)), guess, inputs)


CODE = [linear, steps, lists]
