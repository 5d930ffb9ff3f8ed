r"""A small parser for LaTeX and plain mathematics: text in, an expression tree out, nothing is ever evaluated as code.

What a tree is: `rewards.math.trees`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from rewards.math.tokens import CALLED, CONSTANTS, FUNCTIONS, GREEK, LISTED, Unsupported, tokens_of
from rewards.math.trees import Tree, is_plain_fraction, replaced

DEEPEST = 80
OPENERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
ENDERS = ("**", "\\}", "\\rfloor", "\\rceil", "\\div", "\\to", "\\choose")
BINDERS = {"sum": "sum", "prod": "prod", "int": "int", "lim": "lim", "Sum": "sum"}


def parse(text: str) -> Tree:
    """The expression tree of a normalised text.

    Raises:
        Unsupported: the text is no expression (words, relations, ...) or is beyond the size limits.
    """
    parser = _Parser(tokens_of(text))
    tree = parser.sum()
    if parser.take("\\choose"):
        tree = ("call", "binom", tree, parser.sum())
    if parser.position != len(parser.tokens):
        raise Unsupported(f"unexpected {parser.peek()!r}")
    return tree


@lru_cache(maxsize=4096)
def tree_of(text: str) -> Tree | None:
    """The expression tree, or None where the text is no expression."""
    try:
        return parse(text)
    except (Unsupported, RecursionError):
        return None


class _Parser:
    """Recursive descent: sum > product > signed power > primary."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = self.bars = 0
        self.bound: list[str] = []
        self.stop = -1  # an integrand ends at this token

    def peek(self) -> str:
        if self.position >= len(self.tokens) or self.position == self.stop:
            return ""
        return self.tokens[self.position]

    def ahead(self, steps: int = 1) -> str:
        return self.tokens[self.position + steps] if self.position + steps < len(self.tokens) else ""

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
        negative = self.signs()  # of the whole: -1\frac{1}{2} is minus one and a half
        result = factor = self.power()
        mixed = result[0] == "num" and result[1].denominator == 1 and self.tokens[self.position - 1].isdigit()
        while True:
            if self.take("*", "**"):
                factor = self.signed()
                result = ("mul", result, factor)
            elif self.take("/", "\\div"):
                factor = self.signed()
                result = ("div", result, factor)
            elif self.starts_factor():
                if self.peek()[0] in "0123456789." and not self.takes_number(factor):
                    raise Unsupported("two numbers side by side")
                fraction = self.peek() == "\\frac"
                factor = self.power()
                if mixed and fraction and is_plain_fraction(factor):
                    result = ("add", result, factor)  # 1\frac{1}{2} is one and a half
                else:
                    result = ("mul", result, factor)
            else:
                return ("neg", result) if negative else result
            mixed = False

    def takes_number(self, factor: Tree) -> bool:
        """Whether a number may follow a factor without a sign: `3!2`, `n2^n`, `3^{n}2`, `2^3 5^2`."""
        before, powered = self.tokens[self.position - 1], self.ahead() == "^"
        if factor[0] == "pow":
            return before == "}" or powered
        return before == "!" or (before.isalpha() and powered)

    def starts_factor(self) -> bool:
        token = self.peek()
        if not token or token in "+-*/^_!)]},='%&" or token in ENDERS:
            return False
        return not (token == "|" and self.bars > 0)

    def signs(self) -> bool:
        """Whether the signs that stand here make a minus."""
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.peek() == "-"
            self.position += 1
        return negative

    def signed(self) -> Tree:
        return ("neg", self.power()) if self.signs() else self.power()

    def power(self) -> Tree:
        base = self.primary()
        while True:
            if self.take("!"):
                base = ("call", "factorial2" if self.take("!") else "factorial", base)
            elif self.take("'"):
                base = ("call", "@'", base)
            elif self.peek() == "^" and self.ahead() == "\\circ":
                self.position += 2
                base = ("div", ("mul", base, ("const", "pi")), ("num", Fraction(180)))
            elif self.take("^", "**"):
                return ("pow", base, self.exponent())
            else:
                return base

    def exponent(self) -> Tree:
        if self.take("{"):
            inner = self.sum()
            self.need("}")
            return ("pow", inner, self.exponent()) if self.take("^") else inner
        negative = self.take("-")
        tree = self.primary()
        while self.take("!"):
            tree = ("call", "factorial", tree)
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
        if token == "{" and self.take("\\choose"):
            inner = ("call", "binom", inner, self.sum())
        self.bars = bars
        self.need(OPENERS[token])
        if token in ("\\lfloor", "\\lceil"):
            return ("call", token[2:], inner)
        if token == "\\{":
            raise Unsupported("a set inside an expression")
        return inner

    def variable(self, name: str) -> Tree:
        if self.take("_"):
            index = self.index()
            if isinstance(index, str):
                return self.named(f"{name}_{index}")
            return ("call", f"@{name}", index)
        start = self.position
        if name == "C" and self.peek() == "(":  # C(10, 3), but C(x+1) is a product
            arguments = self.listed()
            if len(arguments) == 2:
                return ("call", "binom", *arguments)
            self.position = start
        if name in CALLED and name not in self.bound:
            power = self.exponent_of_function() if self.take("^") else None
            if self.peek() == "(":
                call: Tree = ("call", f"@{name}()", *self.listed())
                return call if power is None else ("pow", call, power)
            self.position = start
        return self.named(name)

    def named(self, name: str) -> Tree:
        if name in self.bound:
            return ("var", f"#{self.bound.index(name)}")
        if name in ("e", "i"):
            return ("const", name)
        return ("const", "i") if name == "I" else ("var", name)

    def index(self) -> str | Tree:
        """A subscript: a label where it is letters and digits, else an expression."""
        if not self.take("{"):
            token = self.peek()
            if not token or not token.lstrip("\\").isalnum():
                raise Unsupported("a subscript")
            self.position += 1
            return token if token not in self.bound else self.named(token)
        start = self.position
        while self.peek().lstrip("\\").isalnum() or self.peek() == ",":
            self.position += 1
        label = self.tokens[start : self.position]
        if self.take("}") and not set(label) & set(self.bound):
            return "".join(label)
        self.position = start
        tree = self.sum()
        self.need("}")
        return tree

    def command(self, name: str) -> Tree:
        if name in CONSTANTS:
            return ("const", CONSTANTS[name])
        if name in ("frac", "binom", "dbinom", "tbinom"):
            if name == "frac" and (derived := self.derivative()) is not None:
                return derived
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
        if name in BINDERS:
            return self.binder(BINDERS[name])
        if name in LISTED:
            arguments = self.listed()
            return ("call", "binom" if name == "binomial" else name, *arguments)
        if name in GREEK:
            return self.variable(name.removeprefix("var"))
        raise Unsupported(f"command {name}")

    def listed(self) -> list[Tree]:
        """The arguments of `max(a, b)` or `max\\{a, b\\}`."""
        opening = self.peek()
        if opening not in ("(", "\\{"):
            raise Unsupported("a list of arguments is expected")
        self.position += 1
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        self.need(OPENERS[opening])
        return arguments

    def argument(self) -> Tree:
        """One LaTeX argument: a braced group or a single character, so that `\\frac12` is a half."""
        token = self.peek()
        if token == "{" or not token[:1].isdigit() or len(token) == 1:
            return self.primary()
        if "." in token or "e" in token.lower():
            raise Unsupported("a decimal as a bare argument")
        self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
        self.stop += self.stop > self.position
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
        if base is None and name == "log" and self.peek() == "(":  # log(8, 2), as sympy writes it
            start = self.position
            arguments = self.listed()
            if len(arguments) == 2:
                return ("call", "log", *arguments)
            self.position = start
        inner = self.function_argument()
        if base is not None:
            if name != "log":
                raise Unsupported("a subscript on a function")
            tree: Tree = ("call", "log", inner, base)
        elif name == "cis":
            tree = ("add", ("call", "cos", inner), ("mul", ("const", "i"), ("call", "sin", inner)))
        else:
            tree = ("call", name, inner)
        if exponent is None:
            return tree
        return ("call", "arc" + name, inner) if exponent == ("neg", ("num", Fraction(1))) else ("pow", tree, exponent)

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

    def derivative(self) -> Tree | None:
        """`\\frac{d}{dx} f`, after the command; None where the fraction is an ordinary one."""
        if self.tokens[self.position : self.position + 5] != ["{", "d", "}", "{", "d"] or self.ahead(6) != "}":
            return None
        name = self.ahead(5)
        self.position += 7
        body = self.product()
        return ("diff", body, self.named(name))

    def binder(self, kind: str) -> Tree:
        low: Tree | None = None
        high: Tree | None = None
        name = ""
        while self.peek() in ("_", "^"):
            if self.take("^"):
                high = self.exponent_of_function()
            else:
                self.position += 1
                name, low = self.lower(kind)
        if kind == "int":
            return self.integral(low, high)
        if low is None or (high is None) != (kind == "lim"):
            raise Unsupported(f"a {kind} without its limits")
        self.bound.append(name)
        body = self.product()
        variable = self.named(name)
        self.bound.pop()
        return (kind, body, variable, low) if high is None else (kind, body, variable, low, high)

    def lower(self, kind: str) -> tuple[str, Tree]:
        """What stands under the sign: `k = 1`, `x \\to 0`, or the lower limit of an integral."""
        if kind == "int":
            return "", self.argument()
        self.need("{")
        name = self.peek()
        self.position += 1
        if name in self.bound or not name.lstrip("\\").isalpha():
            raise Unsupported("a bound variable")
        self.need("\\to" if kind == "lim" else "=")
        low = self.sum()
        self.need("}")
        return name, low

    def integral(self, low: Tree | None, high: Tree | None) -> Tree:
        end = next(
            (at for at in range(self.position, len(self.tokens) - 1)
             if self.tokens[at] == "d" and self.tokens[at + 1].lstrip("\\").isalpha()), -1
        )  # fmt: skip
        if end < 0 or (low is None) != (high is None):
            raise Unsupported("an integral")
        name = self.tokens[end + 1]
        outer, self.stop = self.stop, end
        self.bound.append(name)
        body: Tree = ("num", Fraction(1)) if self.position == end else self.sum()
        variable = self.named(name)
        self.bound.pop()
        if self.position != self.stop:
            raise Unsupported("an integrand")
        self.stop = outer
        self.position += 2
        if low is None:  # an antiderivative keeps its variable
            return ("int", replaced(body, {variable: ("var", name)}), ("var", name))
        return ("int", body, variable, low, high)
