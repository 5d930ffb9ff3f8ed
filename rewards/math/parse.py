r"""A small parser for LaTeX and plain mathematics: text in, an expression tree out, nothing is ever evaluated as code.

Trees are tuples: `("num", Fraction)`, `("var", "x")`, `("const", "pi" | "e" | "i" | "inf")`, `("add" | "mul", a, b)`,
`("div", a, b)`, `("pow", a, b)`, `("neg", a)`, `("call", name, argument, ...)`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

Tree = tuple[Any, ...]

MOST_TOKENS = 1500
MOST_DIGITS = 1000
DEEPEST = 80

TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?![\d.a-zA-Z]))?|\.\d+)|(?P<command>\\[a-zA-Z]+|\\[{}|])"
    r"|(?P<word>[a-zA-Z]+)|(?P<op>\*\*|[-+*/^_!(){}\[\]|'%=,&])|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos", "arctan", "arccot",
    "asin", "acos", "atan", "ln", "log", "lg", "exp", "sqrt", "abs", "arcsec", "arccsc", "cbrt", "arsinh", "arcosh",
}  # fmt: skip
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar",
}  # fmt: skip
CONSTANTS = {"pi": "pi", "infty": "inf", "infinity": "inf", "oo": "inf", "inf": "inf"}
_NAMES = FUNCTIONS | {"pi", "infinity", "infty"} | {name for name in GREEK if len(name) > 3}
WORDS = sorted(_NAMES, key=len, reverse=True)
OPENERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}


class Unsupported(ValueError):
    """The text is not an expression this parser knows (words, sums, integrals, ...) or is beyond its size limits."""


def parse(text: str) -> Tree:
    """The expression tree of a normalised text.

    Raises:
        Unsupported: see there.
    """
    parser = _Parser(_tokens(text))
    tree = parser.sum()
    if parser.position != len(parser.tokens):
        raise Unsupported(f"unexpected {parser.peek()!r}")
    return tree


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    for found in TOKEN.finditer(text):
        kind, token = found.lastgroup, found[0]
        if kind == "space":
            continue
        if kind == "other":
            raise Unsupported(f"character {token!r}")
        if kind == "number" and len(token) > MOST_DIGITS:
            raise Unsupported("a number with too many digits")
        tokens += _split_word(token) if kind == "word" else [token]
        if len(tokens) > MOST_TOKENS:
            raise Unsupported("too long")
    if not tokens:
        raise Unsupported("empty")
    return tokens


def _split_word(word: str) -> list[str]:
    """`xsin` to `x`, `\\sin`; `ab` to `a`, `b`; words of the language stay unsupported."""
    pieces: list[str] = []
    while word:
        known = next((name for name in WORDS if word.startswith(name)), None)
        if known is not None:
            pieces.append("\\" + known)
            word = word[len(known) :]
        else:
            pieces.append(word[0])
            word = word[1:]
    if sum(len(piece) == 1 for piece in pieces) > 5:
        raise Unsupported("a word")
    return pieces


class _Parser:
    """Recursive descent: sum > product > signed power > primary."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, *wanted: str) -> bool:
        if self.peek() in wanted and self.peek():
            self.position += 1
            return True
        return False

    def need(self, token: str) -> None:
        if not self.take(token):
            raise Unsupported(f"expected {token!r}")

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unsupported("too deep")
        total = self.product()
        while self.peek() in ("+", "-"):
            sign = self.peek()
            self.position += 1
            term = self.product()
            total = ("add", total, ("neg", term) if sign == "-" else term)
        self.depth -= 1
        return total

    def product(self) -> Tree:
        result = self.signed()
        mixed = result[0] == "num" and result[1].denominator == 1 and self.tokens[self.position - 1].isdigit()
        while True:
            if self.take("*", "**"):
                result = ("mul", result, self.signed())
            elif self.take("/", "\\div"):
                result = ("div", result, self.signed())
            elif self.starts_factor():
                if self.peek()[0].isdigit() or self.peek()[0] == ".":
                    raise Unsupported("two numbers side by side")
                fraction = self.peek() == "\\frac"
                factor = self.power()
                if mixed and fraction and _is_plain_fraction(factor):
                    result = ("add", result, factor)  # 1\frac{1}{2} is one and a half
                else:
                    result = ("mul", result, factor)
            else:
                return result
            mixed = False

    def starts_factor(self) -> bool:
        token = self.peek()
        if not token or token in "+-*/^_!)]},='%&" or token in ("**", "\\}", "\\rfloor", "\\rceil", "\\div"):
            return False
        return not (token == "|" and self.bars > 0)

    def signed(self) -> Tree:
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.peek() == "-"
            self.position += 1
        tree = self.power()
        return ("neg", tree) if negative else tree

    def power(self) -> Tree:
        base = self.primary()
        while True:
            if self.take("!"):
                base = ("call", "factorial", base)
            elif self.take("'"):
                base = ("call", "prime", base)
            elif self.peek() == "^" and self.ahead() == "\\circ":
                self.position += 2
                base = ("div", ("mul", base, ("const", "pi")), ("num", Fraction(180)))
            elif self.take("^", "**"):
                return ("pow", base, self.exponent())
            else:
                return base

    def ahead(self) -> str:
        return self.tokens[self.position + 1] if self.position + 1 < len(self.tokens) else ""

    def exponent(self) -> Tree:
        if self.take("{"):
            inner = self.sum()
            self.need("}")
            return ("pow", inner, self.exponent()) if self.take("^") else inner
        negative = self.take("-")
        tree = self.primary()
        tree = ("pow", tree, self.exponent()) if self.take("^", "**") else tree
        return ("neg", tree) if negative else tree

    def primary(self) -> Tree:
        token = self.peek()
        if not token:
            raise Unsupported("ends too early")
        if token in OPENERS:
            return self.bracketed(token)
        self.position += 1
        if token[0].isdigit() or token[0] == ".":
            return ("num", Fraction(token))
        if token == "|" and self.bars == 0:
            self.bars += 1
            inner = self.sum()
            self.need("|")
            self.bars -= 1
            return ("call", "abs", inner)
        name = token.lstrip("\\")
        if token.startswith("\\"):
            return self.command(name)
        if token.isalpha():
            return self.variable(name)
        raise Unsupported(f"unexpected {token!r}")

    def bracketed(self, token: str) -> Tree:
        self.position += 1
        bars, self.bars = self.bars, 0
        inner = self.sum()
        self.bars = bars
        self.need(OPENERS[token])
        if token in ("\\lfloor", "\\lceil"):
            return ("call", token[2:], inner)
        if token == "\\{":
            raise Unsupported("a set inside an expression")
        return inner

    def variable(self, name: str) -> Tree:
        if self.take("_"):
            if self.take("{"):
                start = self.position
                while self.peek() not in ("}", ""):
                    self.position += 1
                name += "_" + "".join(self.tokens[start : self.position])
                self.need("}")
            else:
                name += "_" + self.peek()
                self.position += 1
            return ("var", name)
        if name in ("e", "i"):
            return ("const", name)
        return ("const", "i") if name == "I" else ("var", name)

    def command(self, name: str) -> Tree:
        if name in CONSTANTS:
            return ("const", CONSTANTS[name])
        if name in ("frac", "binom", "dbinom", "tbinom"):
            first, second = self.argument(), self.argument()
            return ("div", first, second) if name == "frac" else ("call", "binom", first, second)
        if name == "sqrt":
            index: Tree | None = None
            if self.take("["):
                index = self.sum()
                self.need("]")
            inner = self.argument()
            return ("call", "sqrt", inner) if index is None else ("call", "root", inner, index)
        if name in FUNCTIONS:
            return self.function(name)
        if name in GREEK:
            return self.variable(name)
        raise Unsupported(f"command {name}")

    def argument(self) -> Tree:
        """One LaTeX argument: a braced group or a single character, so that `\\frac12` is a half."""
        token = self.peek()
        if token == "{" or not token[:1].isdigit() or len(token) == 1:
            return self.primary()
        if "." in token or "e" in token.lower():
            raise Unsupported("a decimal as a bare argument")
        self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
        self.position += 1
        return ("num", Fraction(token[0]))

    def function(self, name: str) -> Tree:
        base: Tree | None = None
        exponent: Tree | None = None
        while self.peek() in ("_", "^"):
            if self.take("_"):
                base = self.argument()
            elif self.take("^"):
                exponent = self.exponent_of_function()
        inner = self.function_argument()
        if base is not None:
            if name != "log":
                raise Unsupported("a subscript on a function")
            tree: Tree = ("call", "log", inner, base)
        else:
            tree = ("call", name, inner)
        if exponent is None:
            return tree
        if exponent == ("neg", ("num", Fraction(1))):
            return ("call", "arc" + name, inner)
        return ("pow", tree, exponent)

    def exponent_of_function(self) -> Tree:
        if self.take("{"):
            inner = self.sum()
            self.need("}")
            return inner
        return self.argument()

    def function_argument(self) -> Tree:
        """`\\sin(x) y` applies to the bracket only; `\\sin 2 x` to the product up to the next sum or function."""
        if self.peek() in ("(", "[", "{", "|"):
            return self.primary()
        negative = self.take("-")
        result = self.power()
        while self.starts_factor() and self.peek().lstrip("\\") not in FUNCTIONS and self.peek() not in ("(", "["):
            if self.peek()[0].isdigit():
                break
            result = ("mul", result, self.power())
        return ("neg", result) if negative else result


def _is_plain_fraction(tree: Tree) -> bool:
    return bool(tree[0] == "div" and tree[1][0] == "num" and tree[2][0] == "num")
