"""What is settled without a judge: which part of a completion is the answer, and whether it is one at all."""

from __future__ import annotations

import re

# Texts that make LLM judges say "correct" although nothing is answered: "One Token to Fool LLM-as-a-Judge"
# (arXiv 2507.08794). A text without any letter or digit (":", ".", " ") is one as well.
MASTER_KEYS = re.compile(
    "thought process|let's solve this problem step by step|let us solve this problem step by step|"
    "let's think step by step|step by step|solution|the solution|answer|the answer|final answer|the final answer|"
    "the answer is|the final answer is|explanation|reasoning|thinking|解|解答|答案|かいせつ|respuesta|solución|réponse|"
    "lösung|antwort"
)


def answer_of(completion: str, see: str) -> str:
    """The text that is judged: the final answer without its thinking, or with `see` "completion" all of it.

    Empty where there is none: thinking or an `<answer>` that never ends.
    """
    if see == "completion":
        return completion.strip()
    from rewards.math.extract import final_part  # half a second of imports, in the worker

    return (final_part(completion) or "").strip()


def is_refused(answer: str) -> bool:
    """Whether there is nothing to judge: no letter and no digit, or nothing but the announcement of an answer."""
    if not any(char.isalnum() for char in answer):
        return True
    return MASTER_KEYS.fullmatch(_bare(answer)) is not None


def is_same(answer: str, reference: str) -> bool:
    """Whether the answer is the reference answer, letter case and spaces aside. No judge is needed then."""
    return " ".join(answer.split()).casefold() == " ".join(reference.split()).casefold()


def _bare(answer: str) -> str:
    """Lower case, one space between words, no punctuation or markup around them."""
    words = " ".join(answer.replace("’", "'").casefold().split())
    return re.sub(r"^[\W_]+|[\W_]+$", "", words)
