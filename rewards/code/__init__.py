"""Code answers: run a submission against tests in a local sandbox whose grader is out of the program's reach."""

from rewards.code.run import run
from rewards.code.sandbox import discard, require_level, sandbox_level
from rewards.code.types import (
    AssertTests,
    CallTests,
    InfrastructureError,
    Level,
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
    "Level",
    "Limits",
    "Report",
    "StdinCase",
    "StdinTests",
    "Tests",
    "Verdict",
    "discard",
    "require_level",
    "run",
    "sandbox_level",
]
