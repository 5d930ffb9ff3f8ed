"""What a sandboxed child does: run the submission and hand back plain values; standard library only.

Everything used after the submission has started is bound before it starts, so that patching modules changes nothing.
Frames on the result pipe: a length (4 bytes, little endian), a tag, a body. `R` ready (written before any untrusted
code), `V` value of a call, `E` an exception, `L` the code did not load, `A` the nonce of an assert program.
"""

from __future__ import annotations

import atexit
import builtins
import io
import json
import os
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

RESULT = 3


def frame_writer(most_bytes: int) -> Callable[[bytes, bytes], None]:
    """A function that writes one frame, with its helpers bound now."""
    write, pack, size = os.write, struct.pack, len
    left = [most_bytes]

    def send(tag: bytes, body: bytes) -> None:
        data = pack("<I", size(body) + 1) + tag + body
        left[0] -= size(data)
        while data and left[0] > 0:
            data = data[write(RESULT, data) :]

    return send


def run(payload: dict[str, Any], codec: Any, send: Callable[[bytes, bytes], None], most_bytes: int) -> None:
    """Run one submission to its end; never returns."""
    mode, exit_now = payload["mode"], os._exit
    status = 1
    try:
        if mode == "stdin":
            status = _program(payload["code"], send)
        elif mode == "call":
            _calls(payload, codec, send, most_bytes)
            status = 0
        else:
            _asserts(payload, send)
            status = 0
    except BaseException as error:  # the submission may raise anything, from any place
        _complain(send, b"E", error)
    finally:
        exit_now(status)


def _complain(send: Callable[[bytes, bytes], None], tag: bytes, error: BaseException) -> None:
    try:
        number = getattr(error, "errno", None)
        kind = "PermissionError" if number in (1, 13) else type(error).__name__
        text = f"{kind}: {error}"[:300]
        send(tag, text.encode("utf-8", "replace"))
    except BaseException:  # a hostile __str__
        send(tag, b"Exception: ?")


def _program(code: str, send: Callable[[bytes, bytes], None]) -> int:
    """A whole program on real descriptors 0 and 1; its exit status."""
    shutdown, run_atexit = threading._shutdown, atexit._run_exitfuncs  # type: ignore[attr-defined]
    module = _module("__main__")
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
    try:
        sys.stdout.flush()
    except BaseException as error:
        if not isinstance(error, (ValueError, AttributeError)):  # closed or replaced by the program itself
            status = status or 1
    return status & 0xFF


def _calls(payload: dict[str, Any], codec: Any, send: Callable[[bytes, bytes], None], most_bytes: int) -> None:
    encode, decode = codec.encode, codec.decode
    inputs = [bytes.fromhex(text) for text in payload["inputs"]]
    complain = _complain
    module = _module("submission")
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
        return getattr(names["Solution"](), wanted)  # type: ignore[no-any-return]
    raise NameError(f"the submission defines no {wanted!r}")


def _asserts(payload: dict[str, Any], send: Callable[[bytes, bytes], None]) -> None:
    module = _module("submission")
    names = module.__dict__
    nonce = payload.pop("nonce").encode()
    exec(compile(payload["code"], "<submission>", "exec", dont_inherit=True), names)
    candidate = _function(names, payload["entry_point"]) if payload["entry_point"] else None
    exec(compile(payload["test"], "<test>", "exec", dont_inherit=True), names)
    if candidate is not None and "check" in names:
        names["check"](candidate)
    send(b"A", nonce)


def _module(name: str) -> types.ModuleType:
    """A fresh module under `name`, with standard streams over descriptors 0, 1 and 2."""
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), encoding="utf-8")
    out = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", write_through=False)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="replace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = ["submission.py"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # what `site` adds, which this interpreter runs without
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def read_payload(descriptor: int) -> dict[str, Any]:
    """The request from a memory file; closes it."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0)
    os.close(descriptor)
    payload: dict[str, Any] = json.loads(data)
    return payload
