"""Code answers: run a submission against tests in a local sandbox whose grader is out of the program's reach."""

from rewards.code.run import run
from rewards.code.sandbox import sandbox_level
from rewards.code.types import (
    AssertTests,
    CallTests,
    InfrastructureError,
    Limits,
    Report,
    StdinCase,
    StdinTests,
    Tests,
    Verdict,
)

__all__ = [
    "AssertTests",
    "CallTests",
    "InfrastructureError",
    "Limits",
    "Report",
    "StdinCase",
    "StdinTests",
    "Tests",
    "Verdict",
    "run",
    "sandbox_level",
]
