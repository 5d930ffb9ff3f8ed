"""Values of expression trees to 60 digits; sizes are checked before each operation, so no tree can make this slow."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rewards.math.exact import BINDING, MOST_STEPS, Undefined, combinatorial, terms, unknown
from rewards.math.tokens import Unsupported
from rewards.math.trees import Tree

DIGITS = 60
MOST_MAGNITUDE = 200_000  # bits left or right of the binary point of a 60-digit number
MOST_ANGLE = 500  # bits of the argument of a periodic function
FAILED = (Undefined, Unsupported, ZeroDivisionError, ValueError, OverflowError, TypeError)  # what `value` may raise

MPMATH = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc", "asin": "asin", "acos": "acos",
    "atan": "atan", "arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "ln": "log", "exp": "exp", "sqrt": "sqrt", "abs": "fabs", "lg": "log10", "floor": "floor",
    "lfloor": "floor", "ceil": "ceil", "lceil": "ceil", "ceiling": "ceil", "sgn": "sign", "sign": "sign",
}  # fmt: skip
_LOCAL = threading.local()


def context() -> Any:
    """This thread's mpmath context of 60 digits."""
    found = getattr(_LOCAL, "context", None)
    if found is None:
        found = importlib.import_module("mpmath").MPContext()  # untyped; a context of its own for each thread
        found.dps = DIGITS
        _LOCAL.context = found
    return found


class Approximation:
    """Evaluates trees at one point; `scale` is the largest term met, for judging cancellation.

    One at a time in a thread: it sets the precision of the thread's context.
    """

    def __init__(self, point: Mapping[str, Fraction], digits: int = DIGITS) -> None:
        self.mp = context()
        self.mp.dps = digits
        self.point: dict[str, Any] = {name: self.number(value) for name, value in point.items()}
        self.scale: Any = self.mp.mpf(0)
        self.steps = 0

    def number(self, value: Fraction) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator

    def value(self, tree: Tree) -> Any:
        """An mpf or mpc. Raises one of FAILED."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Undefined
        mp, kind = self.mp, tree[0]
        if kind == "num":
            return self.number(tree[1])
        if kind == "var":
            return self.point[tree[1]]
        if kind == "const":
            if tree[1] == "inf":
                raise Undefined
            return {"pi": mp.pi, "e": mp.e, "i": mp.j}[tree[1]] * 1
        if kind == "neg":
            return -self.value(tree[1])
        if kind == "call":
            return self.checked(self.call(tree[1], [self.value(child) for child in tree[2:]]))
        if kind in BINDING:
            return self.series(tree)
        a, b = self.value(tree[1]), self.value(tree[2])
        if kind == "add":
            self.scale = max(self.scale, abs(a), abs(b))
            return self.checked(a + b)
        if kind == "mul":
            return self.checked(a * b)
        if kind == "div":
            if b == 0:
                raise Undefined
            return self.checked(a / b)
        return self.checked(self.power(a, b))

    def series(self, tree: Tree) -> Any:
        """A finite sum or product, term by term."""
        if tree[0] not in ("sum", "prod"):
            raise Unsupported(tree[0])
        total = self.mp.mpf(tree[0] == "prod")
        for k in terms(self.whole(self.value(tree[3])), self.whole(self.value(tree[4]))):
            self.point[tree[2][1]] = self.mp.mpf(k)
            term = self.value(tree[1])
            self.scale = max(self.scale, abs(term))
            total = self.checked(total + term if tree[0] == "sum" else total * term)
        return total

    def whole(self, number: Any) -> Fraction:
        """The integer that a number is. Raises Undefined where it is none."""
        nearest = int(self.mp.nint(self.mp.re(number)))
        if abs(number - nearest) > 1e-30:
            raise Undefined
        return Fraction(nearest)

    def checked(self, value: Any) -> Any:
        if not self.mp.isfinite(value) or (value != 0 and abs(self.mp.mag(value)) > MOST_MAGNITUDE):
            raise Undefined
        return value

    def power(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            if exponent == 0 or self.mp.re(exponent) <= 0:
                raise Undefined
            return base
        if abs(exponent) * max(1, abs(self.mp.mag(base))) > MOST_MAGNITUDE:
            raise Undefined
        return base**exponent

    def call(self, name: str, arguments: list[Any]) -> Any:
        mp, x = self.mp, arguments[0]
        if name.startswith("@"):
            return self.number(unknown(name, *(mp.nstr(a, 30) for a in arguments)))
        limit = MOST_MAGNITUDE if name in ("sqrt", "root", "abs", "ln", "log", "lg") else MOST_ANGLE
        if x != 0 and abs(mp.mag(x)) > limit:
            raise Undefined
        if name == "log":
            return mp.log(x) / mp.log(arguments[1]) if len(arguments) == 2 else mp.log(x)
        if name == "root":
            return self.root(x, arguments[1])
        if name == "cbrt":
            return self.root(x, mp.mpf(3))
        if name in ("factorial", "factorial2", "binom"):
            return mp.mpf(int(combinatorial(name, [self.whole(a) for a in arguments])))
        if name in ("max", "min"):
            if any(mp.im(a) != 0 for a in arguments):
                raise Undefined
            return max(arguments) if name == "max" else min(arguments)
        function = getattr(mp, MPMATH.get(name, ""), None)
        if function is None:
            raise Unsupported(f"function {name}")
        return function(x)

    def root(self, x: Any, index: Any) -> Any:
        mp = self.mp
        if index == 0:
            raise Undefined
        real_odd = mp.im(x) == 0 and mp.re(x) < 0 and index == mp.floor(mp.re(index)) and int(mp.re(index)) % 2
        return -((-x) ** (1 / index)) if real_odd else self.power(x, 1 / index)
