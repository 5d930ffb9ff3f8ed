"""Run a submission against its tests: verdicts are formed here, where the expected values are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from rewards.code.asserts import as_calls
from rewards.code.codec import decode, encode
from rewards.code.compare import same_output, same_result
from rewards.code.sandbox import Outcome, discard, sandbox
from rewards.code.types import (
    AssertTests,
    CallTests,
    InfrastructureError,
    Limits,
    Report,
    StdinTests,
    Tests,
    Verdict,
    as_tests,
)

LONGEST_CODE = 1 << 20
COSTLY = ("time_limit", "memory_limit", "output_limit")


def run(
    code: str, tests: Tests | Mapping[str, Any] | str, *, limits: Limits | None = None, stop_early: bool = False
) -> Report:
    """Run `code` on `tests` in the sandbox.

    Stdin cases get a child process each; all calls of a submission share one child. `stop_early` ends after the
    first stdin case that fails (all-or-nothing scoring needs no more). After two cases that ran into a limit the
    remaining ones get that verdict unrun.

    Raises:
        ValueError: the tests are malformed. A sandbox failure is no exception but verdict `infrastructure_error`.
    """
    tests = as_tests(tests)
    limits = limits or Limits()
    if len(code) > LONGEST_CODE or "\0" in code:
        return Report(False, ["runtime_error"], "the code is too long or holds a NUL character")
    try:
        if isinstance(tests, StdinTests):
            return _stdin(code, tests, limits, stop_early)
        if isinstance(tests, CallTests):
            return _calls(code, tests, limits, exact=False)
        return _asserts(code, tests, limits)
    except InfrastructureError as error:
        discard()
        return Report(False, ["infrastructure_error"], str(error))


def _stdin(code: str, tests: StdinTests, limits: Limits, stop_early: bool) -> Report:
    verdicts: list[Verdict] = []
    detail, cpu_s = "", 0.0
    for case in tests.cases:
        outcome = sandbox().run({"mode": "stdin", "code": code}, case.input.encode("utf-8", "replace"), limits)
        verdict, why = _ending(outcome, limits)
        if verdict == "passed" and not same_output(case.output, outcome.output.decode("utf-8", "replace")):
            verdict, why = "wrong_answer", f"printed {outcome.output[:80]!r}"
        verdicts.append(verdict)
        detail = detail or why
        cpu_s += outcome.cpu_s
        if stop_early and verdict != "passed":
            break
        if sum(verdict in COSTLY for verdict in verdicts) >= 2:  # the rest would cost as much and is lost anyway
            verdicts += [verdict] * (len(tests.cases) - len(verdicts))
            break
    return Report(all(verdict == "passed" for verdict in verdicts), verdicts, detail, cpu_s)


def _ending(outcome: Outcome, limits: Limits) -> tuple[Verdict, str]:
    """The verdict that the way a child ended implies; `passed` if it ended well (its output is still to be judged)."""
    if outcome.killed == "output":
        return "output_limit", f"more than {limits.output_bytes} bytes of output"
    if outcome.killed in ("wall", "idle"):
        limit = limits.wall_s if outcome.killed == "wall" else limits.idle_s
        return "time_limit", f"more than {limit:g} s {'in all' if outcome.killed == 'wall' else 'without computing'}"
    if outcome.signal == 24 or (outcome.signal == 9 and outcome.cpu_s >= limits.cpu_s - 0.5):
        return "time_limit", f"used {limits.cpu_s:g} s of CPU"
    complaint = next((body.decode("utf-8", "replace") for tag, body in outcome.frames if tag in (b"E", b"L")), "")
    if outcome.signal == 9:
        return "memory_limit", "killed by the kernel"
    if outcome.signal:
        return "runtime_error", f"ended by signal {outcome.signal}"
    if outcome.exit_status != 0:
        return _exception(complaint), complaint or f"exit status {outcome.exit_status}"
    return "passed", ""


def _exception(complaint: str) -> Verdict:
    kind = complaint.partition(":")[0]
    named: dict[str, Verdict] = {"MemoryError": "memory_limit", "PermissionError": "forbidden"}
    return named.get(kind, "runtime_error")


def _calls(code: str, tests: CallTests, limits: Limits, *, exact: bool) -> Report:
    inputs = [encode(list(arguments), 64 << 20).hex() for arguments in tests.inputs]
    payload = {"mode": "call", "code": code, "fn_name": tests.fn_name, "inputs": inputs}
    outcome = sandbox().run(payload, b"", limits)
    ending, why = _ending(outcome, limits)
    verdicts: list[Verdict] = []
    details: list[str] = []
    failed_load = next((body for tag, body in outcome.frames if tag == b"L"), None)
    answers = [frame for frame in outcome.frames if frame[0] in (b"V", b"E")]
    for index, expected in enumerate(tests.outputs):
        if failed_load is not None:
            text = failed_load.decode("utf-8", "replace")
            verdict, detail = _exception(text), text
        elif index < len(answers):
            tolerance = tests.tolerances[index] if tests.tolerances else 0.0
            verdict, detail = _judge(answers[index], lambda value, e=expected, t=tolerance: same_result(  # type: ignore[misc]
                e, value, t, exact=exact))  # fmt: skip
        else:
            verdict = ending if ending != "passed" else "runtime_error"
            detail = why or "ended before this call returned"
        verdicts.append(verdict)
        details.append(detail)
    first = next((detail for detail in details if detail), "")
    return Report(all(verdict == "passed" for verdict in verdicts), verdicts, first, outcome.cpu_s)


def _judge(frame: tuple[bytes, bytes], same: Callable[[Any], bool]) -> tuple[Verdict, str]:
    tag, body = frame
    if tag == b"E":
        text = body.decode("utf-8", "replace")
        return ("wrong_answer" if text.startswith("ValueError: the value is") else _exception(text)), text
    try:
        value = decode(body)
    except (ValueError, OverflowError, RecursionError):
        return "wrong_answer", "the returned value could not be read"
    return ("passed", "") if same(value) else ("wrong_answer", f"returned {_shown(value)}")


def _shown(value: Any) -> str:
    """A short, bounded picture of a plain value."""
    if isinstance(value, int) and value.bit_length() > 4000:
        return "a huge int"
    if not isinstance(value, (str, bytes, int, float, complex)):
        return f"a {type(value).__name__}"
    return repr(value[:80] if isinstance(value, (str, bytes)) else value)


def _asserts(code: str, tests: AssertTests, limits: Limits) -> Report:
    """Asserts that are calls run as calls; a program that holds more also runs beside the submission, with a nonce.

    The second way is forgeable in principle (the nonce is in the memory of the submission's process), so it only
    adds to what the calls have shown.
    """
    calls, whole = as_calls(tests)
    report: Report | None = None
    if calls is not None:
        report = _calls(code, calls, limits, exact=True)
        if whole or not report.passed:
            return report
    nonce = secrets.token_hex(16)
    payload = {"mode": "assert", "code": code, "test": tests.test, "entry_point": tests.entry_point, "nonce": nonce}
    outcome = sandbox().run(payload, b"", limits)
    verdict, why = _ending(outcome, limits)
    complaint = next((body.decode("utf-8", "replace") for tag, body in outcome.frames if tag == b"E"), "")
    if (b"A", nonce.encode()) not in outcome.frames:
        if verdict == "passed":
            verdict, why = "runtime_error", "ended before the last assert"
        if complaint:
            wrong = complaint.startswith("AssertionError")
            verdict, why = ("wrong_answer" if wrong else _exception(complaint)), complaint
    elif verdict == "passed" and complaint:
        verdict, why = "runtime_error", complaint
    verdicts = [*(report.verdicts if report is not None else []), verdict]
    cpu_s = outcome.cpu_s + (report.cpu_s if report is not None else 0.0)
    return Report(verdict == "passed", verdicts, why, cpu_s, forgeable=True)
