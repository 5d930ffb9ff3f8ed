"""A fixed encoding of plain Python values between the grader and the sandbox; also loaded inside the sandbox.

Encoding goes by exact type with builtins bound when this module loads, before any submission: no `__eq__`, `__repr__`,
`__reduce__` or patched library of the submission is ever called. Depth, item and byte budgets bound both directions.
What has no encoding becomes `Opaque`, which equals nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

DEEPEST = 200
MOST_ITEMS = 2_000_000

_type, _len, _int, _float, _str, _bytes = type, len, int, float, str, bytes
_to_hex, _float_hex, _encode_text, _dict_items = hex, float.hex, str.encode, dict.items
_iterate: dict[Any, Any] = {
    list: list.__iter__, tuple: tuple.__iter__, set: set.__iter__, frozenset: frozenset.__iter__, deque: deque.__iter__,
}  # fmt: skip
_SEQUENCES: dict[Any, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", deque: b"q"}
_DICTS = frozenset({dict, defaultdict, OrderedDict, Counter})
_ValueError = ValueError


class Opaque:
    """A value of a type that is not encoded; never equal to anything."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def encode(value: Any, most_bytes: int) -> bytes:
    """Encode a value.

    Raises:
        ValueError: it is nested too deeply (a cycle, too) or too large.
    """
    pieces: list[bytes] = []
    budget = [most_bytes, MOST_ITEMS]

    def put(piece: bytes) -> None:
        budget[0] -= _len(piece)
        budget[1] -= 1
        if budget[0] < 0 or budget[1] < 0:
            raise _ValueError("the value is too large")
        pieces.append(piece)

    def walk(value: Any, depth: int) -> None:
        kind = _type(value)
        if depth > DEEPEST:
            raise _ValueError("the value is nested too deeply")
        if value is None or value is True or value is False:
            put(b"N" if value is None else b"T" if value is True else b"F")
        elif kind is _int:
            if value.bit_length() > 4 * budget[0]:
                raise _ValueError("the value is too large")
            put(b"i" + _encode_text(_to_hex(value)) + b";")
        elif kind is _float:
            put(b"f" + _encode_text(_float_hex(value)) + b";")
        elif kind is complex:
            put(b"c" + _encode_text(_float_hex(value.real) + "," + _float_hex(value.imag)) + b";")
        elif kind is _str or kind is _bytes:
            raw = _encode_text(value, "utf-8", "surrogatepass") if kind is _str else value
            put((b"s" if kind is _str else b"b") + _encode_text(_to_hex(_len(raw))) + b";" + raw)
        elif kind in _SEQUENCES:
            put(_SEQUENCES[kind] + _encode_text(_to_hex(_len(value))) + b";")
            for item in _iterate[kind](value):
                walk(item, depth + 1)
        elif kind in _DICTS:
            put(b"d" + _encode_text(_to_hex(_len(value))) + b";")
            for key, item in _dict_items(value):
                walk(key, depth + 1)
                walk(item, depth + 1)
        else:
            put(b"O")

    walk(value, 0)
    return b"".join(pieces)


def decode(data: bytes) -> Any:
    """The value again; input from a submission's process is not trusted to be well-formed.

    Raises:
        ValueError: malformed.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.position != len(data):
        raise ValueError("trailing bytes")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def field(self) -> str:
        end = self.data.find(b";", self.position)
        if end < 0:
            raise ValueError("unterminated field")
        text = self.data[self.position : end].decode("ascii")
        self.position = end + 1
        return text

    def size(self) -> int:
        size = int(self.field(), 16)
        if not 0 <= size <= len(self.data) - self.position:
            raise ValueError("impossible size")
        return size

    def value(self, depth: int) -> Any:
        if depth > DEEPEST + 1 or self.position >= len(self.data):
            raise ValueError("too deep or cut short")
        tag = self.data[self.position : self.position + 1]
        self.position += 1
        if tag in b"NTFO":
            return {b"N": None, b"T": True, b"F": False, b"O": Opaque()}[tag]
        if tag == b"i":
            return int(self.field(), 16)
        if tag == b"f":
            return float.fromhex(self.field())
        if tag == b"c":
            real, _, imaginary = self.field().partition(",")
            return complex(float.fromhex(real), float.fromhex(imaginary))
        if tag in b"sb":
            size = self.size()
            raw = self.data[self.position : self.position + size]
            self.position += size
            return raw.decode("utf-8", "surrogatepass") if tag == b"s" else raw
        if tag == b"d":
            pairs = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(self.size())]
            return {_hashable(key): item for key, item in pairs}
        items = [self.value(depth + 1) for _ in range(self.size())]
        return _collection(tag, items)


def _collection(tag: bytes, items: list[Any]) -> Any:
    if tag == b"l":
        return items
    if tag == b"t":
        return tuple(items)
    if tag == b"q":
        return deque(items)
    if tag in b"SZ":
        hashable = [_hashable(item) for item in items]
        return set(hashable) if tag == b"S" else frozenset(hashable)
    raise ValueError(f"unknown tag {tag!r}")


def _hashable(value: Any) -> Any:
    """Keys and set members; forged unhashable ones are malformed, opaque ones stay distinct objects."""
    if isinstance(value, Opaque):
        return object()
    try:
        hash(value)
    except TypeError as error:
        raise ValueError("an unhashable key") from error
    return value
