"""What a sandboxed child does with a submission: run it and hand back plain values; standard library only.

Everything used after the submission has started is bound before it starts, so that patching modules changes nothing.
Frames on the result pipe: a length (4 bytes, little endian), a tag, a body. `V` value of a call, `E` an exception,
`L` the code did not load.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import json
import operator
import os
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

RESULT, CHANNEL = 3, 5
Send = Callable[[bytes, bytes], None]
# What LeetCode imports for every solution, and solutions written for it take for granted.
TAKEN_FOR_GRANTED = """
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import accumulate, combinations, permutations, product
from math import ceil, floor, gcd, inf, sqrt
from typing import *
"""
GRANTED: dict[str, Any] = {}
exec(TAKEN_FOR_GRANTED, GRANTED)
del GRANTED["__builtins__"]
# What an examiner may ask of an object: nothing that decides a comparison.
SPECIAL: dict[str, Callable[..., Any]] = {
    "__len__": len, "__str__": str, "__repr__": repr, "__iter__": iter, "__next__": next, "__setattr__": setattr,
    "__getitem__": operator.getitem, "__setitem__": operator.setitem, "__delitem__": operator.delitem,
    "__add__": operator.add, "__sub__": operator.sub, "__mul__": operator.mul, "__truediv__": operator.truediv,
    "__neg__": operator.neg, "slice": lambda one, *bounds: one[slice(*bounds)],
}  # fmt: skip
LEETCODE = {**vars(builtins), **GRANTED, "exit": sys.exit, "quit": sys.exit}


def frame_writer(descriptor: int = RESULT) -> Send:
    """A function that writes one frame, with its helpers bound now. (Who reads it counts the bytes.)"""
    write, pack, size, view = os.write, struct.pack, len, memoryview

    def send(tag: bytes, body: bytes) -> None:
        data = view(pack("<I", size(body) + 1) + tag + body)
        while data:
            data = data[write(descriptor, data) :]

    return send


def frame_reader(descriptor: int, most_bytes: int) -> Callable[[], tuple[bytes, bytes] | None]:
    """A function that reads one frame, or None at the end (also where a frame is larger than it may be)."""
    read, unpack, size, join = os.read, struct.unpack, len, b"".join

    def exactly(count: int) -> bytes:
        pieces = []
        while count:
            piece = read(descriptor, count)
            if not piece:
                return b""
            pieces.append(piece)
            count -= size(piece)
        return join(pieces)

    def receive() -> tuple[bytes, bytes] | None:
        head = exactly(4)
        if not head:
            return None
        length = unpack("<I", head)[0]
        body = exactly(length) if length <= most_bytes else b""
        return (body[:1], body[1:]) if body else None

    return receive


def run(payload: dict[str, Any], codec: Any, send: Send, most_bytes: int) -> None:
    """Run one submission to its end; never returns."""
    exit_now = os._exit
    status = 1
    try:
        if payload["mode"] == "program":
            status = _program(payload["code"], send)
        elif payload["mode"] == "calls":
            _calls(payload, codec, send, most_bytes)
            status = 0
        else:
            _serve(payload, codec, send, most_bytes)
            status = 0
    except BaseException as error:  # the submission may raise anything, from any place
        _complain(send, b"E", error)
    finally:
        exit_now(status)


def _complain(send: Send, tag: bytes, error: BaseException) -> None:
    try:
        number = getattr(error, "errno", None)
        kind = "PermissionError" if number in (1, 13) else type(error).__name__
        text = f"{kind}: {error}"[:300]
        send(tag, text.encode("utf-8", "replace"))
    except BaseException:  # a hostile __str__
        send(tag, b"Exception: ?")


def _program(code: str, send: Send) -> int:
    """A whole program on real descriptors 0 and 1; its exit status."""
    shutdown, run_atexit = threading._shutdown, atexit._run_exitfuncs  # type: ignore[attr-defined]
    streams, loaded, collect = (sys.stdin, sys.stdout, sys.stderr), sys.modules, gc.collect
    module = _module("__main__")
    module.__file__ = sys.argv[0]
    status = 0
    try:
        try:
            exec(compile(code, "<submission>", "exec", dont_inherit=True), module.__dict__)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        shutdown()
        run_atexit()
    except BaseException as error:
        _complain(send, b"E", error)
        status = 1
    status = _flushed(getattr(sys, "stdout", None)) or status
    # As an interpreter ends: what the program has not written out yet, its objects write when they go.
    sys.stdin, sys.stdout, sys.stderr = streams
    loaded.pop("__main__", None)
    del module
    collect()
    return (_flushed(streams[1]) or status) & 0xFF


def _flushed(stream: Any) -> int:
    """Flush standard output; 1 if it fails, unless the program itself closed it or put another object there."""
    try:
        stream.flush()
    except BaseException as error:
        return 0 if isinstance(error, (ValueError, AttributeError)) else 1
    return 0


def _calls(payload: dict[str, Any], codec: Any, send: Send, most_bytes: int) -> None:
    """Call one function with each of the inputs."""
    encode, decode, complain = codec.encode, codec.decode, _complain
    inputs = [bytes.fromhex(text) for text in payload["inputs"]]
    module = _module("submission")
    module.__dict__["__builtins__"] = LEETCODE  # one reference: copying the names would touch as many memory pages
    try:
        exec(compile(payload["code"], "<submission>", "exec", dont_inherit=True), module.__dict__)
        function = _function(module.__dict__, payload["fn_name"])
    except BaseException as error:
        complain(send, b"L", error)
        return
    for data in inputs:
        try:
            body = encode(function(*decode(data)), most_bytes)
        except BaseException as error:
            complain(send, b"E", error)
        else:
            send(b"V", body)


def _function(names: dict[str, Any], wanted: str) -> Callable[..., Any]:
    if wanted in names:
        found: Callable[..., Any] = names[wanted]
        return found
    if "Solution" in names:
        make = names["Solution"]
        getattr(make(), wanted)  # where it is not there, it is said now
        return lambda *arguments, **keywords: getattr(make(), wanted)(*arguments, **keywords)  # each call has a new one
    raise NameError(f"the submission defines no {wanted!r}")


def _serve(payload: dict[str, Any], codec: Any, send: Send, most_bytes: int) -> None:
    """Answer an examiner in another process: names, attributes and calls, until it closes the channel.

    A request is `[verb, handle, name, arguments, keywords, copy back]`; an answer `V [value, arguments]` or `E text`.
    """
    encode, decode, complain = codec.encode, codec.decode, _complain
    answer, receive = frame_writer(CHANNEL), frame_reader(CHANNEL, 1 << 31)
    objects: list[Any] = []
    special = dict(SPECIAL)
    module = _module("submission")

    def number(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    def respond(verb: str, handle: int, name: str, arguments: list[Any], keywords: dict[str, Any], back: bool) -> Any:
        if verb == "names":
            found = {one: module.__dict__[one] for one in arguments if one in module.__dict__}
            if name:
                found[""] = _function(module.__dict__, name)
            return [found, None]
        if verb == "get":
            return [getattr(objects[handle], name), None]
        if verb == "special":  # looked up as Python does, on the type
            return [special[name](objects[handle], *arguments), None]
        return [objects[handle](*arguments, **keywords), arguments if back else None]

    try:
        exec(compile(payload["code"], "<submission>", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        complain(answer, b"L", error)
        return
    while (frame := receive()) is not None:
        try:
            body = encode(respond(*decode(frame[1], objects.__getitem__)), most_bytes, number)
        except BaseException as error:
            complain(answer, b"E", error)
        else:
            answer(b"V", body)


def prepare() -> None:
    """In the server, once: the standard streams of every child, over whatever its descriptors 0, 1 and 2 will be."""
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, encoding="utf-8", errors="surrogateescape", closefd=False),  # noqa: SIM115
        open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False),  # noqa: SIM115
        open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1),  # noqa: SIM115
    )
    for stream, name in ((sys.stdin, "<stdin>"), (sys.stdout, "<stdout>"), (sys.stderr, "<stderr>")):
        stream.buffer.raw.name = name  # type: ignore[attr-defined]
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = ["submission.py"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # what `site` adds, which this interpreter runs without


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def read_payload(descriptor: int) -> dict[str, Any]:
    """The request from a memory file; closes it. The grader sees by the position that it was read."""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        data = file.read()
    payload: dict[str, Any] = json.loads(data)
    return payload
