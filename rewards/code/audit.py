"""How `r1 rewards audit code` reads a case: `code` (or `solution`) and `tests` in any of the three forms.

Optional: `name` or `task`, `fmt` or `kind` (the row of the table), `setup_env` (secrets put into the grader's
environment for this case) and `forbid_file` (must not exist afterwards: the sandbox has a hole then).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rewards.code.run import run
from rewards.code.types import InfrastructureError

NEEDS = (("code", "solution"), ("tests",))


def judge(case: Mapping[str, Any]) -> bool:
    """Whether the submission passes all tests.

    Raises:
        InfrastructureError: the sandbox failed, or let the submission write a file.
    """
    before = dict(os.environ)
    os.environ.update(case.get("setup_env") or {})
    try:
        report = run(_code(case), case["tests"], stop_early=True)
    finally:
        for name in case.get("setup_env") or {}:
            os.environ.pop(name)
        os.environ.update(before)
    if "infrastructure_error" in report.verdicts:
        raise InfrastructureError(report.detail)
    file = case.get("forbid_file")
    if file and os.path.exists(file):
        raise InfrastructureError(f"the submission wrote {file}")
    return report.passed


def shown(case: Mapping[str, Any]) -> str:
    """The name of a case, or its first line of code."""
    named = " ".join(str(case[key]) for key in ("name", "task", "note") if case.get(key))
    return named or _code(case).strip().partition("\n")[0]


def kind(case: Mapping[str, Any]) -> str:
    """The given kind, the format, or what the tests are."""
    return str(case.get("kind") or case.get("fmt") or case["tests"]["type"])


def _code(case: Mapping[str, Any]) -> str:
    return str(case["code"] if "code" in case else case["solution"])
