"""The last layer: limits, integrals, derivatives and infinite sums on sympy, in a process that can be killed.

sympy is loaded there alone, when the first such answer comes. Trees are converted node by node (sympy never parses or
evaluates model text) and are refused beyond small sizes. The process has CPU_S seconds of CPU time for each question;
what is not shown equal within them is not equal.
"""

from __future__ import annotations

import atexit
import os
import pickle
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from rewards.math.exact import BINDING
from rewards.math.trees import Tree
from rewards.workers import WorkerPool

CPU_S = 0.8
MOST_NODES = 120
LARGEST = 10**6  # of an integer in a symbolic question
LARGEST_EXPONENT = 60
AGREE = 1e-25

_LOCK = threading.Lock()
_POOLS: dict[int, WorkerPool] = {}  # one for each process: a fork must not share its parent's


def equal(a: Tree, b: Tree) -> bool | None:
    """Whether two expressions with a limit, integral, derivative or infinite sum are equal; None: cannot be told."""
    if not (_binds(a) or _binds(b)) or _size(a) + _size(b) > MOST_NODES or not (_small(a) and _small(b)):
        return None
    with closing(_pool().run([(_plain(a), _plain(b))])) as outcomes:
        for _, outcome in outcomes:
            return outcome if isinstance(outcome, bool) else None
    return None


def _pool() -> WorkerPool:
    with _LOCK:
        if os.getpid() not in _POOLS:
            pool = WorkerPool("rewards.math.symbolic:make_decider", timeout_s=CPU_S, wall_s=60 * CPU_S)
            atexit.register(pool.close)
            _POOLS[os.getpid()] = pool
        return _POOLS[os.getpid()]


def _binds(tree: Tree) -> bool:
    return tree[0] in BINDING or any(_binds(child) for child in tree[1:] if isinstance(child, tuple))


def _size(tree: Tree) -> int:
    return 1 + sum(_size(child) for child in tree[1:] if isinstance(child, tuple))


def _small(tree: Tree) -> bool:
    if tree[0] == "num":
        return abs(tree[1].numerator) <= LARGEST and bool(tree[1].denominator <= LARGEST)
    if tree[0] == "pow" and tree[2][0] == "num" and abs(tree[2][1]) > LARGEST_EXPONENT:
        return False
    if tree[0] == "call" and tree[1] in ("factorial", "binom") and any(c[0] == "num" and c[1] > 50 for c in tree[2:]):
        return False
    return all(_small(child) for child in tree[1:] if isinstance(child, tuple))


def _plain(tree: Tree) -> bytes:
    return pickle.dumps(tree)


def make_decider() -> Callable[[tuple[bytes, bytes]], bool | None]:
    """In the worker: load sympy and return the function that decides one question."""
    import sympy  # here only: the layers before must not pay for it

    sympy.integrate(sympy.Symbol("x"))  # the first integral loads half of sympy: not at an answer's expense
    sympy.summation(1 / sympy.Symbol("k") ** 2, (sympy.Symbol("k"), 1, sympy.oo))
    sympy.limit(sympy.sin(sympy.Symbol("x")) / sympy.Symbol("x"), sympy.Symbol("x"), 0)

    def decide(pair: tuple[bytes, bytes]) -> bool | None:
        left, right = (Conversion(sympy).of(pickle.loads(one)).doit() for one in pair)
        return _same(sympy, left, right)

    return decide


def _same(sympy: Any, left: Any, right: Any) -> bool | None:
    if left == right:
        return True
    if left.has(sympy.Integral, sympy.Limit, sympy.Sum, sympy.Product) or right.has(sympy.Integral, sympy.Limit):
        left, right = left.evalf(30), right.evalf(30)
    names = sorted(left.free_symbols | right.free_symbols, key=str)
    if left.is_infinite or right.is_infinite:
        return bool(left == right)
    seen = 0
    for shift in (3, 7, 11):
        point = {name: sympy.Rational(shift * (i + 2), 5 + i) for i, name in enumerate(names)}
        gap = sympy.N((left - right).subs(point), 40)
        scale = sympy.N(abs(left.subs(point)), 40)
        if not (gap.is_number and gap.is_finite and scale.is_finite):
            continue
        if abs(gap) > AGREE * max(1, scale):
            return False
        seen += 1
        if not names:
            break
    return seen >= min(2, len(names) + 1) or None


class Conversion:
    """Trees to sympy expressions. Raises ValueError for what has no counterpart."""

    def __init__(self, sympy: Any) -> None:
        self.sympy = sympy

    def of(self, tree: Tree) -> Any:
        s, kind = self.sympy, tree[0]
        if kind == "num":
            return s.Rational(tree[1].numerator, tree[1].denominator)
        if kind == "var":
            return s.Symbol(tree[1], positive=True)
        if kind == "const":
            return {"pi": s.pi, "e": s.E, "i": s.I, "inf": s.oo}[tree[1]]
        if kind == "call":
            return self.call(tree[1], [self.of(child) for child in tree[2:]])
        parts = [self.of(child) for child in tree[1:]]
        if kind == "neg":
            return -parts[0]
        if kind in ("add", "mul"):
            return parts[0] + parts[1] if kind == "add" else parts[0] * parts[1]
        if kind == "div":
            return parts[0] / parts[1]
        if kind == "pow":
            return parts[0] ** parts[1]
        return self.binder(kind, parts)

    def binder(self, kind: str, parts: list[Any]) -> Any:
        s = self.sympy
        body, variable = parts[0], parts[1]
        if kind == "diff":
            return s.diff(body, variable)
        free = s.Symbol(variable.name, integer=True) if kind in ("sum", "prod") else s.Symbol(variable.name, real=True)
        if kind == "int" and len(parts) == 2:
            return s.integrate(body, variable)
        body = body.subs(variable, free)
        if kind == "lim":
            return s.limit(body, free, parts[2])
        limits = (free, parts[2], parts[3])
        return {"int": s.integrate, "sum": s.summation, "prod": s.product}[kind](body, limits)

    def call(self, name: str, arguments: list[Any]) -> Any:
        s, x = self.sympy, arguments[0]
        if name == "log":
            return s.log(*arguments)
        if name == "lg":
            return s.log(x, 10)
        if name == "root":
            return s.root(x, arguments[1])
        renamed = {
            "ln": "log", "abs": "Abs", "binom": "binomial", "lfloor": "floor", "lceil": "ceiling", "ceil": "ceiling",
            "arcsin": "asin", "arccos": "acos", "arctan": "atan", "max": "Max", "min": "Min", "sgn": "sign",
        }  # fmt: skip
        known = {
            "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp", "sqrt", "cbrt", "factorial",
            "floor", "gcd", "lcm",
        }  # fmt: skip
        if name in renamed or name in known:
            return getattr(s, renamed.get(name, name))(*arguments)
        if name.startswith("@"):
            return s.Function(name[1:])(*arguments)
        raise ValueError(f"no counterpart of {name}")
