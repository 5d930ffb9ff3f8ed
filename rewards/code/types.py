"""What goes into the code sandbox and what comes out: tests in three forms, limits, levels, verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal[
    "passed", "wrong_answer", "runtime_error", "time_limit", "memory_limit", "output_limit", "forbidden",
    "infrastructure_error",
]  # fmt: skip
Level = Literal["none", "partial", "kernel", "namespaces"]
LEVELS: tuple[Level, ...] = ("none", "partial", "kernel", "namespaces")  # from the weakest


class InfrastructureError(RuntimeError):
    """The sandbox failed, not the submission: never a score."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a submission may use.

    `cpu_s` counts CPU seconds of one test and `idle_s` seconds in which it neither computed nor waited for a core, so
    that a busy machine does not change a verdict (a whole test program of asserts counts as one test); `total_cpu_s`
    and the loose `wall_s` hold for all tests together. `memory_bytes` is address space; `output_bytes` caps standard
    output and encoded results.
    """

    cpu_s: float = 4.0
    idle_s: float = 4.0
    total_cpu_s: float = 20.0
    wall_s: float = 60.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class StdinCase:
    """Text for standard input and the expected standard output."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class StdinTests:
    """A whole program: reads standard input, prints the answer.

    `tolerance`: numbers may differ by so much, absolutely or relatively (0: everything is compared as text).
    `weights`: the worth of each test for `Report.fraction` (empty: equal).
    """

    cases: Sequence[StdinCase]
    tolerance: float = 0.0
    weights: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class CallTests:
    """A function `fn_name` (or method of a class `Solution`): positional arguments in, return values out.

    `tolerance`: floats may differ by so much, absolutely or relatively. `weights` as in `StdinTests`.
    """

    fn_name: str
    inputs: Sequence[Sequence[Any]]
    outputs: Sequence[Any]
    tolerance: float = 1e-9
    weights: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class AssertTests:
    """A test program: a `check(candidate)` function, or bare asserts about `entry_point`."""

    test: str
    entry_point: str = ""
    weights: Sequence[float] = ()


Tests = StdinTests | CallTests | AssertTests


@dataclass(frozen=True, slots=True)
class Report:
    """`verdicts` holds one verdict a test in order (fewer after an early stop), `detail` the first failure in words."""

    passed: bool
    verdicts: list[Verdict]
    detail: str = ""
    cpu_s: float = 0.0
    weights: Sequence[float] = ()

    @property
    def fraction(self) -> float:
        """Weighted share of tests passed, of those that have a verdict (an early stop leaves the rest without)."""
        weights = self.weights[: len(self.verdicts)] or [1.0] * len(self.verdicts)
        won = sum(weight for weight, verdict in zip(weights, self.verdicts, strict=True) if verdict == "passed")
        return won / sum(weights) if sum(weights) > 0 else 0.0


def as_tests(tests: Tests | Mapping[str, Any] | str) -> Tests:
    """Typed tests from a plain dict (or its JSON).

    Raises:
        ValueError: not one of the three forms, or no test in it.
    """
    if isinstance(tests, (StdinTests, CallTests, AssertTests)):
        return tests
    if isinstance(tests, str):
        tests = json.loads(tests)
    if not isinstance(tests, Mapping):
        raise ValueError(f"tests must be an object with a type, not {type(tests).__name__}")
    try:
        return _typed(tests)
    except KeyError as error:
        raise ValueError(f"{tests.get('type')} tests lack the field {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"malformed {tests.get('type')} tests: {error}") from error


def _typed(tests: Mapping[str, Any]) -> Tests:
    kind = tests.get("type")
    weights = [float(weight) for weight in tests.get("weights") or ()]
    if any(not 0 <= weight < float("inf") for weight in weights):
        raise ValueError(f"weights of tests must be numbers from 0, not {weights}")
    given = tests.get("tolerance")
    if kind == "stdin":
        cases = [StdinCase(_text(case["input"]), _text(case["output"])) for case in _some(tests["cases"])]
        _same_length("weights", weights, cases)
        return StdinTests(cases, float(given or 0.0), weights)
    if kind == "call":
        inputs, outputs = _some(tests["inputs"]), tests["outputs"]
        if any(not isinstance(one, Sequence) or isinstance(one, (str, bytes)) for one in inputs):
            raise ValueError("each of the inputs of call tests is a list of arguments")
        if len(inputs) != len(outputs):
            raise ValueError(f"call tests have {len(inputs)} inputs and {len(outputs)} outputs")
        _same_length("weights", weights, inputs)
        return CallTests(str(tests["fn_name"]), inputs, outputs, 1e-9 if given is None else float(given), weights)
    if kind == "assert":
        return AssertTests(_text(tests["test"]), str(tests.get("entry_point") or ""), weights)
    raise ValueError(f"tests have type {kind!r}, not 'stdin', 'call' or 'assert'")


def _some(cases: Any) -> Sequence[Any]:
    if not isinstance(cases, Sequence) or isinstance(cases, str) or not cases:
        raise ValueError("tests hold no case")
    return cases


def _same_length(what: str, these: Sequence[Any], those: Sequence[Any]) -> None:
    if these and len(these) != len(those):
        raise ValueError(f"{len(these)} {what} for {len(those)} tests")


def _text(value: Any) -> str:
    """Text, also from a list of lines, as some data sets have it."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
