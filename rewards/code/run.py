"""Run a submission against its tests: verdicts are formed here, where the expected values are."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rewards.code.codec import decode, encode
from rewards.code.compare import same_output, same_result
from rewards.code.exam import made_ready
from rewards.code.sandbox import Frame, Hear, Outcome, Unheard, Word, discard, require_level, sandbox
from rewards.code.types import (
    AssertTests,
    CallTests,
    InfrastructureError,
    Level,
    Limits,
    Report,
    StdinTests,
    Tests,
    Verdict,
    as_tests,
)

LONGEST_CODE = 1 << 20
LARGEST_INPUT = 64 << 20
LONGEST_TEXT = 300  # of what a submission may say in a report
COSTLY = ("time_limit", "memory_limit", "output_limit")


def run(
    code: str,
    tests: Tests | Mapping[str, Any] | str,
    *,
    limits: Limits | None = None,
    stop_early: bool = False,
    min_level: Level = "kernel",
) -> Report:
    """Run `code` on `tests` in the sandbox.

    Stdin cases get a child process each; all calls of a submission share one child, and a new one takes over behind a
    call that did not come back. `stop_early` ends at the first test that fails (all-or-nothing scoring needs no
    more). After two tests that ran into a limit, or when the whole submission has used up its time, the remaining
    tests get that verdict unrun. Below the isolation level `min_level` nothing is run.

    Raises:
        ValueError: the tests are malformed. A sandbox failure is no exception but verdict `infrastructure_error`.
    """
    tests = as_tests(tests)
    limits = limits or Limits()
    if len(code) > LONGEST_CODE or "\0" in code:
        return Report(False, ["runtime_error"], "the code is too long or holds a NUL character")
    for last in (False, True):
        try:
            require_level(min_level)
            return _graded(code, tests, limits, stop_early)
        except InfrastructureError as error:
            discard()
            if last or not isinstance(error, Unheard):
                return Report(False, ["infrastructure_error"], str(error))
    raise AssertionError("the second attempt returns")


def _graded(code: str, tests: Tests, limits: Limits, stop_early: bool) -> Report:
    if isinstance(tests, StdinTests):
        return _stdin(code, tests, limits, stop_early)
    if isinstance(tests, CallTests):
        return _calls(code, tests, limits, stop_early)
    return _asserts(code, tests, limits, stop_early)


class _Tally:
    """The verdicts of one submission as they come, and what is left to it of its limits."""

    def __init__(self, limits: Limits, stop_early: bool, tests: int) -> None:
        self.verdicts: list[Verdict] = []
        self.detail, self.cpu_s = "", 0.0
        self._limits, self._stop_early, self._tests = limits, stop_early, tests
        self._started = time.monotonic()

    def add(self, verdict: Verdict, why: str) -> None:
        self.verdicts.append(verdict)
        self.detail = self.detail or why

    @property
    def left(self) -> Limits:
        """Limits for the next child; its CPU time is what one test may use, unless less is left in all."""
        wall_s = max(0.1, self._limits.wall_s - (time.monotonic() - self._started))
        total = max(0.1, self._limits.total_cpu_s - self.cpu_s)
        return replace(self._limits, cpu_s=min(self._limits.cpu_s, total), total_cpu_s=total, wall_s=wall_s)

    @property
    def over(self) -> bool:
        """Whether no further test has to run; the verdicts are then complete, but for an early stop."""
        missing = self._tests - len(self.verdicts)
        if missing <= 0 or (self._stop_early and any(verdict != "passed" for verdict in self.verdicts)):
            return True
        spent = self.cpu_s > self._limits.total_cpu_s or time.monotonic() - self._started > self._limits.wall_s
        if spent or sum(verdict in COSTLY for verdict in self.verdicts) >= 2:
            costly = [verdict for verdict in self.verdicts if verdict in COSTLY]
            self.detail = self.detail or "used up the time of the whole submission"
            self.verdicts += [costly[-1] if costly else "time_limit"] * missing
            return True
        return False

    def report(self, tests: Tests) -> Report:
        passed = bool(self.verdicts) and all(verdict == "passed" for verdict in self.verdicts)
        return Report(passed, self.verdicts, self.detail, self.cpu_s, tests.weights)


def _stdin(code: str, tests: StdinTests, limits: Limits, stop_early: bool) -> Report:
    tally = _Tally(limits, stop_early, len(tests.cases))
    for case in tests.cases:
        if tally.over:
            break
        left = tally.left
        payload = {"mode": "program", "code": code}
        with sandbox().start(payload, left, stdin=case.input.encode("utf-8", "replace")) as child:
            outcome = child.wait()
        verdict, why = _ending(outcome, left)
        output = outcome.output.decode("utf-8", "replace")
        if verdict == "passed" and not same_output(case.output, output, tests.tolerance):
            verdict, why = "wrong_answer", f"printed {output[:80]!r}"
        tally.cpu_s += outcome.cpu_s
        tally.add(verdict, why)
    return tally.report(tests)


def _ending(outcome: Outcome, limits: Limits) -> tuple[Verdict, str]:
    """The verdict that the way a child ended implies; `passed` if it ended well (its output is still to be judged)."""
    killed = outcome.killed
    if killed == "output":
        return "output_limit", f"more than {limits.output_bytes} bytes of output"
    if killed == "cpu":
        return "time_limit", f"used {limits.cpu_s:g} s of CPU"
    if killed in ("wall", "idle"):
        limit = limits.wall_s if killed == "wall" else limits.idle_s
        return "time_limit", f"more than {limit:g} s {'in all' if killed == 'wall' else 'without computing'}"
    if killed == "memory":
        return "memory_limit", "out of memory, with what the kernel kept for it"
    if outcome.signal:
        return "runtime_error", f"ended by signal {outcome.signal}"
    complaint = _text_of(outcome.frames, b"E")
    if outcome.exit_status != 0:
        return _exception(complaint), complaint or f"exit status {outcome.exit_status}"
    return "passed", ""


def _text_of(frames: list[Frame], tag: bytes) -> str:
    return next((_text(body) for one, body in frames if one == tag), "")


def _text(body: bytes) -> str:
    return body[: 4 * LONGEST_TEXT].decode("utf-8", "replace")[:LONGEST_TEXT]


def _exception(complaint: str) -> Verdict:
    named: dict[str, Verdict] = {"MemoryError": "memory_limit", "PermissionError": "forbidden"}
    return named.get(complaint.partition(":")[0], "runtime_error")


def _calls(code: str, tests: CallTests, limits: Limits, stop_early: bool) -> Report:
    inputs = [encode(list(arguments), LARGEST_INPUT).hex() for arguments in tests.inputs]
    tally = _Tally(limits, stop_early, len(inputs))
    while not tally.over:
        done, left = len(tally.verdicts), tally.left
        payload = {"mode": "calls", "code": code, "fn_name": tests.fn_name, "inputs": inputs[done:]}
        cpu_s = min(left.total_cpu_s, left.cpu_s * (len(inputs) - done))
        with sandbox().start(payload, left, cpu_s=cpu_s) as child:
            outcome = child.wait(_judge_as_they_come(tests, tally, stop_early))
        tally.cpu_s += outcome.cpu_s
        if len(tally.verdicts) == len(inputs) or outcome.killed == "asked":
            continue
        unloaded = _text_of(outcome.frames, b"L")
        if unloaded:
            tally.verdicts += [_exception(unloaded)] * (len(inputs) - done)
            tally.detail = tally.detail or unloaded
            continue
        ending, why = _ending(outcome, left)
        tally.add(ending if ending != "passed" else "runtime_error", why or "ended before this call returned")
    return tally.report(tests)


def _judge_as_they_come(tests: CallTests, tally: _Tally, stop_early: bool) -> Hear:
    """Judges each answer when its frame arrives."""

    def judge(frame: Frame) -> Word:
        index = len(tally.verdicts)
        if frame[0] not in (b"V", b"E") or index >= len(tests.outputs):
            return ""
        verdict, why = _judge(frame, tests.outputs[index], tests.tolerance)
        tally.add(verdict, why)
        return "enough" if stop_early and verdict != "passed" else "answer"

    return judge


def _judge(frame: Frame, expected: Any, tolerance: float) -> tuple[Verdict, str]:
    tag, body = frame
    if tag == b"E":
        text = _text(body)
        if text.startswith("ValueError: the value is"):  # what `encode` says of it
            return ("output_limit" if "too large" in text else "wrong_answer"), text
        return _exception(text), text
    if len(body) > 1000:  # reading costs more than knowing
        wanted = _encoded(expected)
        if wanted and len(body) > 1000 + 16 * len(wanted):  # the largest equal answer: ints for floats, 12 times
            return "wrong_answer", f"returned {len(body)} bytes, far more than expected"
        if body == wanted and b"nan" not in body and b"O" not in body:  # these are equal to nothing
            return "passed", ""
    try:
        value = decode(body)
        right = same_result(expected, value, tolerance)
        return ("passed", "") if right else ("wrong_answer", f"returned {_shown(value)}")
    except Exception:  # whatever it is that cannot be read or compared: the submission returned it
        return "wrong_answer", "the returned value could not be read"


def _encoded(expected: Any) -> bytes:
    try:
        return encode(expected, LARGEST_INPUT)
    except ValueError:
        return b""


def _shown(value: Any) -> str:
    """A short, bounded picture of a plain value."""
    if isinstance(value, int) and value.bit_length() > 4000:
        return "a huge int"
    if not isinstance(value, (str, bytes, int, float, complex, type(None))):
        return f"a {type(value).__name__}"
    return repr(value[:80] if isinstance(value, (str, bytes)) else value)


def _asserts(code: str, tests: AssertTests, limits: Limits, stop_early: bool) -> Report:
    """The test program runs in a process of its own, on a second server, and asks the submission's for values.

    No expected value and no comparison is in the submission's reach: all it can do is answer.
    """
    program = made_ready(tests, each=not stop_early)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        patient = replace(limits, idle_s=limits.idle_s + limits.cpu_s)  # it waits while the program computes
        with sandbox().start({"mode": "serve", "code": code}, patient, channel=theirs) as submission:
            waiting = replace(limits, idle_s=limits.wall_s)
            with sandbox("examiner").start(program, waiting, channel=ours) as examiner:
                ours.close()
                theirs.close()
                exam = examiner.wait(lambda frame: "sign" if frame[0] == b"V" else "")
            submission.kill()
            outcome = submission.wait()
    return _marked(exam, outcome, limits, tests, program["asserts"])


def _marked(exam: Outcome, outcome: Outcome, limits: Limits, tests: AssertTests, asserts: int) -> Report:
    """asserts: how many the program has, where each is judged by itself; 0 where the first failure ends it."""
    if asserts and tests.weights and len(tests.weights) != asserts:
        raise InfrastructureError(f"{len(tests.weights)} weights for {asserts} asserts")
    tag, text = next(((tag, _text(body)) for tag, body in reversed(exam.frames) if tag != b"V"), (b"", ""))
    if tag == b"U":
        raise InfrastructureError(text)
    ending = _program_ending(tag, text, exam, outcome, limits)
    marks: dict[int, tuple[Verdict, str]] = {}
    lost = ending if ending[0] != "passed" else ("wrong_answer", "the test program ended in an assert")
    last = 0
    for last, kind, said in (json.loads(body) for tag, body in exam.frames if tag == b"V"):
        if kind == "passed":
            marks.setdefault(last, ("passed", ""))
        else:
            marks[last] = lost if kind == "lost" else (_exception(said) if kind == "raised" else "wrong_answer", said)
    if ending[0] != "passed":  # what did not get its turn failed; if all had one, the end came in the latest
        marks |= dict.fromkeys([index for index in range(asserts) if index not in marks] or [last], ending)
    indices = sorted(marks) or [0]
    ordered = [marks.get(index, ending) for index in indices]
    verdicts = [verdict for verdict, _ in ordered]
    detail = next((why for _, why in ordered if why), "")
    weights = [tests.weights[index] for index in indices] if asserts and tests.weights else []
    passed = all(verdict == "passed" for verdict in verdicts)
    return Report(passed, verdicts, detail, exam.cpu_s + outcome.cpu_s, weights)


def _program_ending(tag: bytes, text: str, exam: Outcome, outcome: Outcome, limits: Limits) -> tuple[Verdict, str]:
    """What the way a test program ended says of the submission; `passed` at its own end."""
    if tag == b"A":
        return "passed", ""
    if tag in (b"X", b"L"):
        return _exception(text), text
    if tag == b"E":
        return "wrong_answer", text
    verdict, why = _ending(outcome if tag == b"G" else exam, limits)
    why = (why or "ended before its call returned") if tag == b"G" else f"the test program ended: {why}"
    return (verdict if verdict != "passed" else "runtime_error"), why
