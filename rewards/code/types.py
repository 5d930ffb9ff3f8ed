"""What goes into the code sandbox and what comes out: tests in three forms, limits, verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal[
    "passed", "wrong_answer", "runtime_error", "time_limit", "memory_limit", "output_limit", "forbidden",
    "infrastructure_error",
]  # fmt: skip


class InfrastructureError(RuntimeError):
    """The sandbox failed, not the submission: never a score."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one child process (one stdin case, or all calls of a submission).

    `cpu_s` counts CPU seconds (whole ones, rounded up) and `idle_s` seconds in which the program neither computed nor
    waited for a core, so that a busy machine does not change a verdict; `wall_s` is the loose limit behind both.
    `memory_bytes` is address space; `output_bytes` caps standard output and encoded results.
    """

    cpu_s: float = 4.0
    idle_s: float = 4.0
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
    """A whole program: reads standard input, prints the answer."""

    cases: Sequence[StdinCase]


@dataclass(frozen=True, slots=True)
class CallTests:
    """A function `fn_name` (or method of a class `Solution`): positional arguments in, return values out.

    `tolerance` bounds the absolute difference of floats where a test asks for one (0: 1e-9 relative).
    """

    fn_name: str
    inputs: Sequence[Sequence[Any]]
    outputs: Sequence[Any]
    tolerances: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class AssertTests:
    """A test program: a `check(candidate)` function, or bare asserts about `entry_point`."""

    test: str
    entry_point: str = ""


Tests = StdinTests | CallTests | AssertTests


@dataclass(frozen=True, slots=True)
class Report:
    """`verdicts` holds one verdict a test, in order (fewer after an early stop); `detail` the first failure in words.

    `forgeable`: some asserts could not be turned into calls and ran beside the submission (see docs).
    """

    passed: bool
    verdicts: list[Verdict]
    detail: str = ""
    cpu_s: float = 0.0
    forgeable: bool = False

    @property
    def fraction(self) -> float:
        """Share of tests passed, of those that ran."""
        return sum(verdict == "passed" for verdict in self.verdicts) / len(self.verdicts) if self.verdicts else 0.0


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
    kind = tests.get("type")
    try:
        if kind == "stdin":
            return StdinTests([StdinCase(str(case["input"]), str(case["output"])) for case in _some(tests["cases"])])
        if kind == "call":
            inputs, outputs = _some(tests["inputs"]), tests["outputs"]
            if len(inputs) != len(outputs):
                raise ValueError(f"call tests have {len(inputs)} inputs and {len(outputs)} outputs")
            return CallTests(str(tests["fn_name"]), inputs, outputs)
        if kind == "assert":
            return AssertTests(str(tests["test"]), str(tests.get("entry_point") or ""))
    except KeyError as error:
        raise ValueError(f"{kind} tests lack the field {error}") from error
    raise ValueError(f"tests have type {kind!r}, not 'stdin', 'call' or 'assert'")


def _some(cases: Any) -> Sequence[Any]:
    if not isinstance(cases, Sequence) or isinstance(cases, str) or not cases:
        raise ValueError("tests hold no case")
    return cases
