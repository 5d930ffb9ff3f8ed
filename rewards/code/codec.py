"""A fixed encoding of plain Python values between grader, examiner and submission; also loaded inside the sandbox.

Encoding goes by the real type (`type(value)`, a subclass as its base) with builtins bound when this module loads,
before any submission: no `__eq__`, `__repr__`, `__reduce__` or patched library of the submission is ever called.
Depth, item and byte budgets bound both directions. Anything else crosses as a handle: a number that means nothing
outside (`Opaque`, which equals nothing), or an object that the examiner may call (`examiner.Remote`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

DEEPEST = 200
MOST_ITEMS = 2_000_000
# What a container costs of that number beside what it holds, about its size in memory: an empty deque takes 600 bytes.
WEIGHTS = {b"q": 20, b"S": 8, b"Z": 8, b"d": 4}
MOST_COLLISIONS = 100_000_000  # members of one hash, times the bytes of their collection: what comparing them may cost

_next, _type, _len, _int, _float, _str, _bytes, _bool = next, type, len, int, float, str, bytes, bool
_to_hex, _float_hex, _encode_text, _issubclass = hex, float.hex, str.encode, issubclass
_bit_length, _index, _to_float, _plain_text, _plain_bytes = int.bit_length, int.__index__, float, str.__str__, bytes
_real, _imaginary = complex.real.__get__, complex.imag.__get__  # type: ignore[attr-defined]
_iterate: dict[Any, Any] = {
    list: list.__iter__, tuple: tuple.__iter__, set: set.__iter__, frozenset: frozenset.__iter__, deque: deque.__iter__,
    dict: dict.items,
}  # fmt: skip
_size: dict[Any, Any] = {kind: kind.__len__ for kind in _iterate}
_TAGS: dict[Any, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", deque: b"q", dict: b"d"}
_BASES = (int, float, str, bytes, list, tuple, dict, set, frozenset, deque, complex, bytearray)
_PLAIN = frozenset(_BASES)
_ITERATORS = frozenset({
    map, filter, zip, enumerate, reversed, range, type(_ for _ in ()), type({}.keys()), type({}.values()),
    type({}.items()), type(iter([])), type(iter(())), type(iter({})), type(iter("")), type(iter(range(0))),
    itertools.chain, itertools.islice, itertools.takewhile, itertools.accumulate, itertools.combinations,
    itertools.permutations, itertools.product, itertools.starmap, itertools.zip_longest,
})  # fmt: skip
_ValueError, _weight = ValueError, WEIGHTS.get


class Opaque:
    """A value of a type that is not encoded; never equal to anything."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def no_handle(value: Any) -> int:
    """Every other object is the same stranger."""
    return 0


def encode(value: Any, most_bytes: int, handle: Callable[[Any], int] = no_handle) -> bytes:
    """Encode a value; `handle` numbers what is no plain value.

    Raises:
        ValueError: it is nested too deeply (a cycle, too) or too large.
    """
    pieces: list[bytes] = []
    budget = [most_bytes, MOST_ITEMS]

    def put(piece: bytes, items: int = 1) -> None:
        budget[0] -= _len(piece)
        budget[1] -= items
        if budget[0] < 0 or budget[1] < 0:
            raise _ValueError("the value is too large")
        pieces.append(piece)

    def walk(value: Any, depth: int) -> None:
        kind = _type(value)
        if depth > DEEPEST:
            raise _ValueError("the value is nested too deeply")
        if value is None or kind is _bool:
            put(b"N" if value is None else b"T" if value is True else b"F")
            return
        if kind not in _PLAIN and kind not in _ITERATORS:
            kind = _next((base for base in _BASES if _issubclass(kind, base)), kind)
        if kind is _int:
            if _bit_length(value) > 4 * budget[0]:
                raise _ValueError("the value is too large")
            put(b"i" + _encode_text(_to_hex(_index(value))) + b";")
        elif kind is _float:
            put(b"f" + _encode_text(_float_hex(value)) + b";")
        elif kind is complex:
            put(b"c" + _encode_text(_float_hex(_real(value)) + "," + _float_hex(_imaginary(value))) + b";")
        elif kind is _str:
            text(b"s", _encode_text(value, "utf-8", "surrogatepass"))
        elif kind is _bytes or kind is bytearray:
            text(b"b" if kind is _bytes else b"y", bytes.join(b"", (value,)))
        elif kind in _TAGS:
            put(_TAGS[kind] + _encode_text(_to_hex(_size[kind](value))) + b";", _weight(_TAGS[kind], 1))
            for item in _iterate[kind](value):
                if kind is dict:
                    walk(item[0], depth + 1)
                    walk(item[1], depth + 1)
                else:
                    walk(item, depth + 1)
        elif kind in _ITERATORS:
            items = [*itertools.islice(value, MOST_ITEMS)]  # what remains of it; its end is not waited for
            put((b"r" if kind is range else b"I") + _encode_text(_to_hex(_len(items))) + b";")
            for item in items:
                walk(item, depth + 1)
        else:
            put(b"O" + _encode_text(_to_hex(handle(value))) + b";")

    def text(tag: bytes, raw: bytes) -> None:
        put(tag + _encode_text(_to_hex(_len(raw))) + b";" + raw)

    walk(value, 0)
    return b"".join(pieces)


def decode(data: bytes, resolve: Callable[[int], Any] | None = None) -> Any:
    """The value again; input from a submission's process is not trusted to be well-formed.

    Raises:
        ValueError: malformed.
    """
    reader = _Reader(data, resolve or (lambda number: Opaque()))
    value = reader.value(0)
    if reader.position != len(data):
        raise ValueError("trailing bytes")
    return value


class _Reader:
    def __init__(self, data: bytes, resolve: Callable[[int], Any]) -> None:
        self.data = data
        self.position = 0
        self.resolve = resolve
        self.items, self.collisions = MOST_ITEMS, MOST_COLLISIONS

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
        start = self.position
        tag = self.data[start : start + 1]
        self.position += 1
        self.items -= WEIGHTS.get(tag, 1)
        if self.items < 0:
            raise ValueError("too many items")
        if tag in b"NTF":
            return {b"N": None, b"T": True, b"F": False}[tag]
        if tag == b"O":
            return self.resolve(int(self.field(), 16))
        if tag == b"i":
            return int(self.field(), 16)
        if tag == b"f":
            return float.fromhex(self.field())
        if tag == b"c":
            real, _, imaginary = self.field().partition(",")
            return complex(float.fromhex(real), float.fromhex(imaginary))
        if tag in b"sby":
            size = self.size()
            raw = self.data[self.position : self.position + size]
            self.position += size
            return raw.decode("utf-8", "surrogatepass") if tag == b"s" else raw if tag == b"b" else bytearray(raw)
        if tag == b"d":
            pairs = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(self.size())]
            keys = self.distinct([key for key, _ in pairs], start)
            return dict(zip(keys, (item for _, item in pairs), strict=True))
        items = [self.value(depth + 1) for _ in range(self.size())]
        return _collection(tag, self.distinct(items, start) if tag in b"SZ" else items)

    def distinct(self, values: list[Any], start: int) -> list[Any]:
        """Keys and set members; forged unhashable ones are malformed, opaque ones stay distinct objects.

        Hashes of numbers and tuples can be made equal at will, and a set of such is quadratic: also malformed.
        """
        values = [object() if isinstance(value, Opaque) else value for value in values]
        try:
            hashes = {hash(value) for value in values}
        except TypeError as error:
            raise ValueError("an unhashable key") from error
        self.collisions -= (len(values) - len(hashes)) * (self.position - start)
        if self.collisions < 0:
            raise ValueError("keys of equal hashes")
        return values


def _collection(tag: bytes, items: list[Any]) -> Any:
    if tag == b"l":
        return items
    if tag == b"t":
        return tuple(items)
    if tag == b"q":
        return deque(items)
    if tag == b"I":
        return iter(items)
    if tag == b"r":
        return _as_range(items)
    if tag in b"SZ":
        return set(items) if tag == b"S" else frozenset(items)
    raise ValueError(f"unknown tag {tag!r}")


def _as_range(items: list[Any]) -> range:
    if not all(type(item) is int for item in items):
        raise ValueError("a range of something else than ints")
    step = items[1] - items[0] if len(items) > 1 else 1
    made = range(items[0], items[0] + step * len(items), step) if items and step else range(0)
    if any(one != item for one, item in zip(made, items, strict=True)):  # not as a list: its ints may be huge
        raise ValueError("no range")
    return made
