"""Text to tokens: numbers, LaTeX commands, letters; `xsin` is `x` and `\\sin`, words of the language are refused."""

from __future__ import annotations

import re

MOST_TOKENS = 1500
MOST_DIGITS = 1000

TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?![\d.a-zA-Z]))?|\.\d+)|(?P<command>\\[a-zA-Z]+|\\[{}|])"
    r"|(?P<word>[a-zA-Z]+)|(?P<op>\*\*|[-+*/^_!(){}\[\]|'%=,&])|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
CALLED = {"\\Gamma", "\\zeta", "\\psi", "Gamma", "zeta", "psi", "f"}  # with a bracket behind it a function, no factor
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos", "arctan", "arccot",
    "asin", "acos", "atan", "ln", "log", "lg", "exp", "sqrt", "abs", "arcsec", "arccsc", "cbrt", "arsinh", "arcosh",
    "artanh", "arcsinh", "arccosh", "arctanh", "sech", "csch", "sgn", "sign", "floor", "ceil", "ceiling",
    "factorial", "cis",
}  # fmt: skip
LISTED = {"max", "min", "gcd", "lcm", "binomial"}  # functions of a list in parentheses
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar",
}  # fmt: skip
CONSTANTS = {"pi": "pi", "infty": "inf", "infinity": "inf", "oo": "inf", "inf": "inf"}
_NAMES = FUNCTIONS | LISTED | {"pi", "infinity", "infty", "oo"} | {name for name in GREEK if len(name) > 3}
WORDS = sorted(_NAMES, key=len, reverse=True)


class Unsupported(ValueError):
    """The text is no expression the parser knows, or is beyond its size limits."""


def tokens_of(text: str) -> list[str]:
    """The tokens of a normalised text, without white space.

    Raises:
        Unsupported: see there.
    """
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
        if len(pieces) > 12:
            raise Unsupported("a word")
    if sum(len(piece) == 1 for piece in pieces) > 5:
        raise Unsupported("a word")
    return pieces
