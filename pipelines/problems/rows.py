"""A problem as the stages keep it, from a row as somebody wrote it; what cannot be one is refused in words."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from models.chat import asked, messages, one_form

_NAMES = {
    bool: "true or false", int: "a number", float: "a number", Decimal: "a number", str: "text", list: "a list",
    dict: "an object", bytes: "bytes",
}  # fmt: skip


def problem_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Problems row of an outside row. Unknown columns pass through.

    Raises:
        ValueError: it is no problem that can be asked and graded; the message says what is wrong and what to do.
    """
    for name, value in row.items():
        _check_text(name, value)
    out = one_form(row)
    if "messages" in out:
        messages(out)  # the last turn is the user's
    _check_prompt(out)
    out["tests"] = _tests(out.get("tests"))
    out["answer"] = _answer(out.get("answer"))
    if out["answer"] is None and out["tests"] is None:
        raise ValueError("neither 'answer' nor 'tests': nothing can grade it; map one with `columns:`")
    out.setdefault("family", "code" if out["tests"] else "math")
    out.setdefault("kind", out["family"])
    out.setdefault("system", None)
    out["id"] = str(out.get("id") or f"{out['kind']}-{hashlib.sha256(asked(out).encode()).hexdigest()[:12]}")
    return out


class Together:
    """What rows must keep among themselves: one id means one question, one column holds one type of values.

    Ids tell problems apart wherever samples are counted, and a table has typed columns: told here, where the row's
    place in its file is known.
    """

    def __init__(self) -> None:
        self._questions: dict[str, tuple[str, int]] = {}
        self._types: dict[str, tuple[str, int]] = {}

    def check(self, row: Mapping[str, Any], number: int) -> None:
        """ValueError where row `number` does not go with those before it."""
        question, first = self._questions.setdefault(row["id"], (asked(row), number))
        if question != asked(row):
            raise ValueError(
                f"id {row['id']!r} is row {first}'s too, which asks something else: make ids unique, leave `id` out, "
                "or name another column with `columns: {id: NAME}`"
            )
        for name, value in row.items():
            if value is None:
                continue
            kind, first = self._types.setdefault(name, (type_name(value), number))
            if kind != type_name(value):
                raise ValueError(
                    f"column {name!r} is {type_name(value)}, but in row {first} {kind}: write it the same way in all "
                    "rows, or leave it out"
                )


def type_name(value: Any) -> str:
    """`text`, `a number`: what a value is, for its writer."""
    return _NAMES.get(type(value), type(value).__name__)


def _check_text(name: str, value: Any) -> None:
    for text in _texts(value):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} holds half a character ({text[error.start]!a}, a lone surrogate), which no file can keep: "
                "write the character itself"
            ) from None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for part in value:
            yield from _texts(part)


def _check_prompt(row: Mapping[str, Any]) -> None:
    prompt, system = row.get("prompt"), row.get("system")
    if prompt is not None and not isinstance(prompt, str):
        raise ValueError(f"prompt is {type_name(prompt)}, must be text (a conversation belongs in `messages`)")
    if prompt is None or not prompt.strip():
        raise ValueError("no text in column 'prompt'; name the column with `columns: {prompt: NAME}`")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"system is {type_name(system)}, must be text")


def _answer(answer: Any) -> str | None:
    """As text. Blank text is no answer: it could only be found ungradable when the samples are drawn."""
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return None
    if not isinstance(answer, str | int | float | Decimal):
        raise ValueError(f"answer is {type_name(answer)}, must be text, a number, true or false")
    if isinstance(answer, float | Decimal) and not math.isfinite(answer):
        raise ValueError(f"answer is {answer}, must be a finite number; write it as text if that is what is meant")
    return str(answer)


def _tests(tests: Any) -> str | None:
    """As JSON that the code reward can read; without the fields that a Parquet file fills with null."""
    if not tests or (isinstance(tests, str) and not tests.strip()):
        return None
    from rewards.code.types import as_tests

    try:
        if isinstance(tests, Mapping):
            tests = json.dumps({name: part for name, part in tests.items() if part is not None})
        as_tests(tests)
    except json.JSONDecodeError as error:
        raise ValueError(f"tests are no JSON ({error.msg}); docs/rewards/code.md shows what they hold") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"tests cannot be run: {error}; docs/rewards/code.md shows what they hold") from None
    return str(tests)
