"""When is an output right? Standard output line by line, call results by type and value.

Standard output: white space at the end of a line and empty lines at the end are ignored, `\\r\\n` is `\\n`, nothing
else is. With a tolerance, a word that is a number on both sides may differ by so much.

Call results: ints, strings and so on exactly; bool is not int; floats (on either side) within a relative 1e-9, or
within the tolerance that is asked for, relative or absolute; NaN never. Containers item by item. Because JSON knows
neither, a tuple or set may answer an expected list (a set in any order, without duplicates), and int keys may answer
their string form.
"""

from __future__ import annotations

import math
from typing import Any

RELATIVE = 1e-9


def same_output(expected: str, actual: str, tolerance: float = 0.0) -> bool:
    """Whether two standard outputs are the same."""
    wanted, got = _lines(expected), _lines(actual)
    if wanted == got:
        return True
    return tolerance > 0 and len(wanted) == len(got) and all(
        _same_words(a.split(), b.split(), tolerance) for a, b in zip(wanted, got, strict=True)
    )  # fmt: skip


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_words(expected: list[str], actual: list[str], tolerance: float) -> bool:
    return len(expected) == len(actual) and all(
        a == b or _same_number(_number(a), _number(b), tolerance) for a, b in zip(expected, actual, strict=True)
    )


def _number(word: str) -> float:
    try:
        return float(word) if len(word) <= 400 and "_" not in word else math.nan
    except ValueError:
        return math.nan


def same_result(expected: Any, actual: Any, tolerance: float = RELATIVE) -> bool:
    """Whether a call returned the expected value."""
    if isinstance(expected, bool) or isinstance(actual, bool) or expected is None or actual is None:
        return expected is actual
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        return _same_number(expected, actual, tolerance)
    if isinstance(expected, complex) and isinstance(actual, (int, float, complex)):
        return _close(expected, actual, tolerance * max(1.0, abs(expected)))
    if isinstance(expected, list):
        if isinstance(actual, (set, frozenset)):
            return _same_members(expected, actual)
        return isinstance(actual, (list, tuple)) and _same_items(expected, actual, tolerance)
    if isinstance(expected, tuple):
        return isinstance(actual, tuple) and _same_items(expected, actual, tolerance)
    if isinstance(expected, dict):
        return isinstance(actual, dict) and _same_dict(expected, actual, tolerance)
    if isinstance(expected, (set, frozenset)):
        return isinstance(actual, (set, frozenset)) and _exact(frozenset(expected)) == _exact(frozenset(actual))
    return type(expected) is type(actual) and bool(expected == actual)


def _same_number(expected: float, actual: float, tolerance: float) -> bool:
    if isinstance(expected, int) and isinstance(actual, int):
        return expected == actual
    try:
        if not math.isfinite(expected) or not math.isfinite(actual):
            return expected == actual
        absolute = 0.0 if tolerance <= RELATIVE else 1.0
        return abs(expected - actual) <= tolerance * max(absolute, abs(expected), abs(actual))
    except OverflowError:  # an int beyond floats
        return False


def _close(expected: complex, actual: complex, by: float) -> bool:
    try:
        return abs(expected - actual) <= by
    except OverflowError:
        return False


def _same_items(expected: Any, actual: Any, tolerance: float) -> bool:
    return len(expected) == len(actual) and all(
        same_result(a, b, tolerance) for a, b in zip(expected, actual, strict=True)
    )


def _same_members(expected: list[Any], actual: Any) -> bool:
    try:
        return len(expected) == len(actual) and _exact(frozenset(expected)) == _exact(frozenset(actual))
    except TypeError:
        return False


def _same_dict(expected: dict[Any, Any], actual: dict[Any, Any], tolerance: float) -> bool:
    texts = set(map(type, expected)) <= {str}
    found = {_exact(_as_text(key) if texts else key): value for key, value in actual.items()}
    wanted = {_exact(key): value for key, value in expected.items()}
    return len(found) == len(actual) and wanted.keys() == found.keys() and all(
        same_result(value, found[key], tolerance) for key, value in wanted.items()
    )  # fmt: skip


def _as_text(key: Any) -> Any:
    """An int as the key that JSON makes of it; a huge one is nobody's key, and Python refuses to print it."""
    return str(key) if type(key) is int and key.bit_length() < 1000 else key


def _exact(member: Any) -> Any:
    """A set member or key that tells `True` from `1`, which are equal to Python."""
    if isinstance(member, tuple):
        return tuple, tuple(map(_exact, member))
    if isinstance(member, frozenset):
        return frozenset, frozenset(map(_exact, member))
    return (bool, member) if isinstance(member, bool) else member
