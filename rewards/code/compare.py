"""When is an output right? Standard output line by line, call results by type and value.

Standard output: trailing white space of each line and trailing empty lines are ignored, nothing else is; floats are
compared as text. Call results: ints, strings and so on exactly; bool is not int; a float (on either side) within 1e-9
relative, or the test's own tolerance; NaN never. Because JSON knows neither, a tuple or set may answer an expected
list (a set in any order, without duplicates), and int keys may answer their string form.
"""

from __future__ import annotations

import math
from typing import Any

RELATIVE = 1e-9


def same_output(expected: str, actual: str) -> bool:
    """Whether two standard outputs are the same."""
    return _lines(expected) == _lines(actual)


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def same_result(expected: Any, actual: Any, tolerance: float = 0.0, *, exact: bool = False) -> bool:
    """Whether a call returned the expected value. `exact`: Python values, so a tuple does not answer a list."""
    if isinstance(expected, bool) or isinstance(actual, bool) or expected is None or actual is None:
        numbers = _plain_number(expected) and _plain_number(actual)
        return expected is actual or (exact and numbers and bool(expected == actual))
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        return _same_number(expected, actual, tolerance)
    if isinstance(expected, complex) or isinstance(actual, complex):
        numbers = isinstance(expected, (int, float, complex)) and isinstance(actual, (int, float, complex))
        return numbers and abs(expected - actual) <= max(tolerance, RELATIVE * abs(expected))
    if isinstance(expected, list) and not exact:
        if isinstance(actual, (set, frozenset)):
            return _same_members(expected, actual)
        return isinstance(actual, (list, tuple)) and _same_items(expected, actual, tolerance, exact)
    if isinstance(expected, (list, tuple)):
        return type(expected) is type(actual) and _same_items(expected, actual, tolerance, exact)
    if isinstance(expected, dict):
        return isinstance(actual, dict) and _same_dict(expected, actual, tolerance, exact)
    if isinstance(expected, (set, frozenset)):
        return isinstance(actual, (set, frozenset)) and bool(expected == actual)
    return type(expected) is type(actual) and bool(expected == actual)


def _plain_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _same_number(expected: float, actual: float, tolerance: float) -> bool:
    if isinstance(expected, int) and isinstance(actual, int):
        return expected == actual or (tolerance > 0 and abs(expected - actual) <= tolerance)
    try:
        if not math.isfinite(expected) or not math.isfinite(actual):
            return expected == actual
        return abs(expected - actual) <= (tolerance if tolerance > 0 else RELATIVE * max(abs(expected), abs(actual)))
    except OverflowError:  # an int beyond floats
        return False


def _same_items(expected: Any, actual: Any, tolerance: float, exact: bool) -> bool:
    return len(expected) == len(actual) and all(
        same_result(a, b, tolerance, exact=exact) for a, b in zip(expected, actual, strict=True)
    )


def _same_members(expected: list[Any], actual: Any) -> bool:
    try:
        return len(expected) == len(actual) and set(expected) == actual
    except TypeError:
        return False


def _same_dict(expected: dict[Any, Any], actual: dict[Any, Any], tolerance: float, exact: bool) -> bool:
    if not exact and set(map(type, expected)) <= {str}:
        actual = {str(key) if type(key) is int else key: value for key, value in actual.items()}
    return expected.keys() == actual.keys() and all(
        same_result(value, actual[key], tolerance, exact=exact) for key, value in expected.items()
    )
