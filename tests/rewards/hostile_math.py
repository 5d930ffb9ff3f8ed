"""Answers made to hang a verifier: towers, factorials, deep nesting, long runs and what backtracking regexes hate."""

import random

ATOMS = [
    "9", "7", "x", "10^{10}", "9^{9^{9^9}}", "2^{2^{2^{2^2}}}", "(10^9)!", "1000000000!", "((9!)!)!", "\\pi", "e",
    "\\binom{10^9}{10^8}", "\\sin(10^{100000})", "\\sqrt{2}", "(x+y+z)^{400}", "\\frac{1}{3}", "1{,}000",
    "5 \\text{ cm}",
    "\\sum_{k=1}^{10^9} k^{k}", "\\sum_{i=1}^{400}\\sum_{j=1}^{400}\\sum_{k=1}^{400} ijk", "\\int_0^1 x^{x^{x}} dx",
    "\\prod_{k=1}^{300} k!", "\\int_0^{\\infty} \\sin(x^3) e^{x^2} dx", "\\lim_{n\\to\\infty} n^{n^n}",
    "k\\pi, k\\in\\mathbb{Z}",
    "\\frac{d}{dx} \\frac{d}{dx} x^{x^x}", "x \\equiv 3 \\pmod{7}", "F_{n^{9^9}}", "12:30", "3:4",
    "\\text{ or }", "\\pm 3",
    "[1,2)", "\\cup", "\\{1, 2\\}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "10^{-400}", "0.\\overline{142857}",
    "\\sum_{k=0}^{\\infty} \\frac{k!}{2^{k^2}}", "\\gcd(10^{300}, 6^{300})", "\\lfloor e^{400} \\rfloor",
    "1e999", "i^i",
]  # fmt: skip
RUNS = [
    "(", "[", "{", "\\{", ")", "}", "1", "9", "a ", "a, ", "7 ", "-", "+", "^", "_", "=", "<", "|", "\\sqrt",
    "\\frac{1}{",
    "\\left(", "\\text{", "\\text{a", "\\pm ", "$", "\\boxed{", "\\begin{pmatrix}", "\\begin{cases}", " and ", " or ",
    "a=", "\\cup ", "\\cap ", "(1,", "x_", "'", "!", "\\sin ", "\\sum_{k=1}^{9} ", "\\int x dx ", "%", "one ",
    ":", "1:",
    "1_", "\\in ", "\\ne ", "x<", "x\\ne ", "1,2,3,", "\\x01", "m/s ", "cm ", "\\frac", "C(", "^{1}C_", " is 1",
    "answer is ",
    "B) ", "\\binom{", "f(", "\\vec{", ".", "...", ",", "\\\\", "&", "\\\\ & ", "\\Z ", "integer ",
    "\\R\\setminus ", "~", "\\ ",
    "where k is ", "1.1.", "\u0301", "\u00b2", "\u221a", "\u00bd", "I hope it is correct. ", "####", "</think>",
    "<answer>",
]  # fmt: skip
JOINTS = ["^", "+", "*", "/", ", ", "=", "<", " \\cup ", " \\text{ and } ", "", " ", "}{", "\\le ", " or ", ";"]
WRAPS = ["{}", "\\boxed{{{}}}", "<answer>{}</answer>", "The answer is {}.", "$${}$$", "<think>a</think>So ${}$ is it"]


def hostile(number: int) -> list[str]:
    """`number` completions, the same ones every time; up to 100,000 characters long."""
    draw = random.Random(20261125)
    texts = []
    while len(texts) < number:
        kind = draw.randrange(4)
        if kind == 0:  # a tower or a chain of atoms
            joint = draw.choice(JOINTS)
            text = joint.join("{" + draw.choice(ATOMS) + "}" for _ in range(draw.choice((2, 5, 40))))
        elif kind == 1:  # one run, opened, filled, sometimes closed
            unit = draw.choice(RUNS)
            size = draw.choice((500, 3900, 20_000, 100_000))
            text = unit * (size // len(unit)) + draw.choice(("", "7", "x", "!", "}" * 900, ")" * 900, "\\end{pmatrix}"))
        elif kind == 2:  # two runs in turn
            first, second = draw.choice(RUNS), draw.choice(RUNS)
            text = (first + second) * (draw.choice((300, 3900)) // len(first + second)) + draw.choice(ATOMS)
        else:  # any mixture
            text = "".join(draw.choice(ATOMS + RUNS + JOINTS) for _ in range(draw.choice((20, 200, 900))))
        texts.append(draw.choice(WRAPS).format(text))
    return texts
