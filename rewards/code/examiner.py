"""What a second sandboxed child does: run the test program, the submission behind a channel; standard library only.

The test program and its expected values live here; the submission lives in another process, of another server. A name
that the program takes from the submission is a `Remote`: calling it sends the arguments over and brings back a plain
value, so what the program compares is never an object of the submission's making.
Frames on the result pipe: `V` index of an assert, whether it held, and why not; `A` the program came to its end;
`E` an exception of the program; `X` an exception of the submission that ended it; `L` the submission did not load;
`G` the submission's process is gone; `U` the program cannot be run like this (never the submission's fault).
"""

from __future__ import annotations

import builtins
import contextlib
import json
import marshal
import os
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any

MUTABLE = (list, dict, set, bytearray, deque)


class Gone(BaseException):
    """The submission's process has ended; not to be caught by a test program's `except Exception`."""


class NotLoaded(BaseException):
    """The submission cannot even be imported."""


class CannotCross(BaseException):
    """The test program hands over something that has no encoding (a function, say)."""


class Submission:
    """The other end of the channel."""

    def __init__(self, runner: Any, codec: Any, most_bytes: int) -> None:
        self._send = runner.frame_writer(runner.CHANNEL)
        self._receive = runner.frame_reader(runner.CHANNEL, most_bytes + 4096)
        self._codec, self._most_bytes = codec, most_bytes
        self.gone = False
        self.asked = 0  # how often it was called or asked for an attribute
        self.raised: BaseException | None = None
        self.fault = ""  # of the test program, which may well swallow its own exceptions

    def ask(self, verb: str, handle: int, name: str, arguments: Any, keywords: Any, back: bool = False) -> Any:
        """One request; the answer, or the submission's exception as a built-in one of the same name."""
        request = [verb, handle, name, list(arguments), keywords, back]
        self.asked += verb != "names"
        try:
            self._send(b"Q", self._codec.encode(request, 1 << 30, self._handle))
            frame = self._receive()
        except OSError:
            frame = None
        if frame is None:
            self.gone = True
            raise Gone
        tag, body = frame
        if tag == b"V":
            value = self._codec.decode(body, self._remote)
            if isinstance(value, list) and len(value) == 2:
                return value
            raise ValueError("a malformed answer")
        text = body.decode("utf-8", "replace")
        if tag == b"L":
            raise NotLoaded(text)
        kind, _, message = text.partition(": ")
        made = StopIteration if kind == "StopIteration" and name == "__next__" else _exception(kind)
        self.raised = RuntimeError(text)
        if made is not None:
            with contextlib.suppress(TypeError):  # an exception that takes more than a message
                self.raised = made(message)
        raise self.raised

    def _handle(self, value: Any) -> int:
        if type(value) is Remote:
            return int(value._handle)
        self.fault = f"the test program passes a {type(value).__name__} to the submission"
        raise CannotCross(self.fault)

    def _remote(self, number: int) -> Remote:
        return Remote(self, number)


def _exception(name: str) -> type[Exception] | None:
    """The built-in exception of that name, if a message alone can make one.

    The end of an iteration is none: raised in a call, `all(map(...))` would take it for the end of its cases. (Python
    does the same for generators.)
    """
    found = getattr(builtins, name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return None if issubclass(found, (UnicodeError, StopIteration, StopAsyncIteration)) else found


class Remote:
    """An object of the submission: can be called, asked for attributes, items and text; is equal to itself alone.

    It never decides: no `==`, no truth, no `in`, no arithmetic with a value of the test program, which could be the
    expected one (`__rsub__` would answer 0 to all).
    """

    __slots__ = ("_handle", "_submission")
    _submission: Submission
    _handle: int

    def __init__(self, submission: Submission, handle: int) -> None:
        object.__setattr__(self, "_submission", submission)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        back = any(isinstance(one, MUTABLE) for one in arguments)
        value, after = self._submission.ask("call", self._handle, "", arguments, keywords, back)
        if back and isinstance(after, list) and len(after) == len(arguments):
            for mine, theirs in zip(arguments, after, strict=True):
                _update(mine, theirs)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._submission.ask("get", self._handle, name, [], {})[0]

    def __setattr__(self, name: str, value: Any) -> None:
        self._special("__setattr__", name, value)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return int(self._plain(int, "__len__"))

    def __str__(self) -> str:
        return str(self._plain(str, "__str__"))

    def __repr__(self) -> str:
        return str(self._plain(str, "__repr__"))

    def __getitem__(self, key: Any) -> Any:
        if type(key) is slice:
            return self._special("slice", key.start, key.stop, key.step)
        return self._special("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._special("__setitem__", key, value)

    def __delitem__(self, key: Any) -> None:
        self._special("__delitem__", key)

    def __iter__(self) -> Any:
        return self._special("__iter__")

    def __next__(self) -> Any:
        return self._special("__next__")

    def __add__(self, other: Any) -> Any:
        return self._with("__add__", other)

    def __sub__(self, other: Any) -> Any:
        return self._with("__sub__", other)

    def __mul__(self, other: Any) -> Any:
        return self._with("__mul__", other)

    def __truediv__(self, other: Any) -> Any:
        return self._with("__truediv__", other)

    def __neg__(self) -> Any:
        return self._special("__neg__")

    def _special(self, name: str, *arguments: Any) -> Any:
        return self._submission.ask("special", self._handle, name, arguments, {})[0]

    def _plain(self, kind: Any, name: str) -> Any:
        found = self._special(name)
        if type(found) is not kind:
            raise TypeError(f"{name} returned a {type(found).__name__}")
        return found

    def _with(self, name: str, other: Any) -> Any:
        return self._special(name, other) if type(other) is Remote else NotImplemented


def _update(mine: Any, theirs: Any) -> None:
    """What the call did to an argument, done here too."""
    if type(mine) is not type(theirs) or not isinstance(mine, MUTABLE):
        return
    if isinstance(mine, (list, bytearray)):
        mine[:] = theirs
    else:
        mine.clear()
        mine.extend(theirs) if isinstance(mine, deque) else mine.update(theirs)


def run(payload: dict[str, Any], codec: Any, send: Callable[[bytes, bytes], None], most_bytes: int) -> None:
    """Run one test program to its end; never returns."""
    submission = Submission(sys.modules["_sandbox_runner"], codec, most_bytes)
    tag, text = b"A", ""
    try:
        _examine(payload, submission, send)
    except NotLoaded as error:
        tag, text = b"L", str(error)
    except BaseException as error:
        tag = b"X" if error is submission.raised else b"E"
        text = f"{type(error).__name__}: {error}"[:300]
        _note_fault(error, submission, payload)
    if submission.gone:
        tag = b"G"
    elif submission.fault:
        tag, text = b"U", submission.fault
    send(tag, text.encode("utf-8", "replace"))
    os._exit(0)


def _note_fault(error: BaseException, submission: Submission, payload: dict[str, Any]) -> None:
    """Whether an exception is the test program's own: of a module that is not there, or a name nobody was to define.

    The names that a program takes from elsewhere are the submission's to define: to leave one out must not turn a 0
    into a sample that does not count.
    """
    if error is submission.raised or submission.gone:
        return
    asked = {payload["entry_point"], *payload["free"]}
    if isinstance(error, ImportError) or (isinstance(error, NameError) and error.name not in asked):
        submission.fault = f"the test program cannot run: {type(error).__name__}: {error}"[:300]


def _examine(payload: dict[str, Any], submission: Submission, send: Callable[[bytes, bytes], None]) -> None:
    entry, free = payload["entry_point"], set(payload["free"])
    granted = sys.modules["_sandbox_runner"].GRANTED
    ours = {name for name in free - {entry} if name in granted or name in sys.stdlib_module_names}
    if not entry and free <= ours:  # then one of these must be the function under test
        ours = set()
    module = sys.modules["__main__"] = types.ModuleType("__main__")  # where `unittest.main` looks for tests
    names, seen = module.__dict__, _Seen(submission, payload, send)
    names |= {"__file__": "test.py", "__assert__": seen.judge, "__seen__": seen.count}
    for name in ours:
        names[name] = granted[name] if name in granted else __import__(name)
    answer = submission.ask("names", 0, entry, sorted(free - ours), {})[0]
    found = {name: answer[name] for name in free - ours if name in answer}  # no other name is the submission's to give
    candidate = answer.get("")
    names |= found
    if entry:
        names[entry] = names["candidate"] = candidate
    try:
        exec(marshal.loads(bytes.fromhex(payload["program"])), names)
        if payload["has_check"] and entry:
            names["check"](candidate)
        if not submission.asked:
            _call_tests(names)
    except SystemExit as stop:  # `unittest.main` ends so
        if stop.code is not None and stop.code is not False and stop.code != 0:
            raise
    plain = any(type(value) is not Remote for value in (*found.values(), candidate) if value is not None)
    if not (submission.asked or seen.failed or (plain and seen.asserts)):
        submission.fault = "no assert about the submission was evaluated (`check` needs an entry point)"


def _call_tests(names: dict[str, Any]) -> None:
    """A program that has asked nothing so far may hold test functions, written for pytest."""
    for name, value in [*names.items()]:
        if name.startswith("test") and type(value) is types.FunctionType and value.__code__.co_argcount == 0:
            value()


class _Seen:
    """What the asserts of the program call."""

    def __init__(self, submission: Submission, payload: dict[str, Any], send: Callable[[bytes, bytes], None]) -> None:
        self._submission, self._payload, self._send = submission, payload, send
        self.asserts = self.failed = 0

    def count(self) -> None:
        """An assert comes."""
        self.asserts += 1

    def judge(self, index: int, thunk: Callable[[], Any]) -> None:
        """An assert, and whether it held; it is `lost` if it ends the program."""
        self.asserts += 1
        kind, text = "lost", ""
        try:
            kind, text = ("passed", "") if thunk() else ("wrong", "AssertionError")
        except Exception as error:
            _note_fault(error, self._submission, self._payload)
            kind = "raised" if error is self._submission.raised else "wrong"
            text = f"{type(error).__name__}: {error}"[:200]
        finally:
            self.failed += kind != "passed"
            self._send(b"V", json.dumps([index, kind, text]).encode())
