"""When an output is right, and the encoding that values cross in."""

import contextlib
import math
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code import CallTests, StdinCase, StdinTests, run
from rewards.code.codec import Opaque, decode, encode
from rewards.code.compare import same_output, same_result
from rewards.code.run import _judge


def test_standard_output():
    assert same_output("a\nb\n", "a  \nb\n\n")  # white space at line ends, empty lines at the end
    assert same_output("a\nb", "a\r\nb\r\n") and same_output("", "\n \n")
    assert not same_output("a\nb\n", "a\n\nb")  # lines must match in number and order
    assert not same_output("a\nb", "a\nb\nc") and not same_output("a\nb", "b\na")
    assert not same_output("a b", "a  b") and not same_output("a", " a") and not same_output("a", "A")
    assert not same_output("83", "8") and not same_output("83", "") and not same_output("83", "83\0")


def test_floats_in_output_only_with_a_tolerance():
    assert not same_output("0.3333", "0.3334") and not same_output("1.0", "1.00")
    assert same_output("0.3333 yes", "0.3334 yes", 1e-3) and same_output("1000000", "1000001", 1e-5)
    assert not same_output("0.3333 yes", "0.3334 no", 1e-3) and not same_output("1 2", "1 2 3", 1e-3)
    assert not same_output("1\n2", "1 2", 1e-3) and not same_output("nan", "NaN", 1e-3)
    tests = StdinTests([StdinCase("", "0.333")], tolerance=1e-2)
    assert run("print(1 / 3)", tests).passed and not run("print(1 / 2)", tests).passed


def test_call_results():
    assert same_result([1, 2], (1, 2)) and same_result([1, 2], {2, 1}) and same_result({"1": 2}, {1: 2})
    assert same_result([[1, [2]], "a"], [(1, (2,)), "a"]) and same_result([], ())
    assert not same_result((1, 2), [1, 2]) and not same_result([1, 2], [2, 1]) and not same_result([1], [1, 1])
    assert (
        not same_result(1, True) and not same_result(True, 1) and not same_result(None, 0) and not same_result(0, None)
    )
    assert not same_result("1", 1) and not same_result("a", b"a") and not same_result([1, 1], {1})
    assert not same_result({"a": 1}, {"a": 1, "b": 2}) and same_result({"a": [1.0]}, {"a": [1]})


def test_floats_in_call_results():
    assert same_result(0.3, 0.1 + 0.2) and same_result(1, 1.0) and not same_result(0.3, 0.3001)
    assert (
        not same_result(0.0, 1e-10) and not same_result(10**15, 10**15 + 1) and same_result(float("inf"), float("inf"))
    )
    assert not same_result(float("nan"), float("nan")) and not same_result(1.0, float("inf"))
    assert same_result(0.3, 0.3001, 1e-3) and same_result([0.0], [1e-4], 1e-3) and not same_result(10**400, 1.5)
    assert same_result(2j, 2j) and not same_result(2j, 2) and not same_result(5, 5j)
    assert run("def f(): return 0.3", CallTests("f", [[]], [0.3001], tolerance=1e-3)).passed


def test_whatever_is_returned_is_right_or_wrong():
    for code, expected in (
        ("return {10**5000: 1}", {"a": 1}), ("return 10**400", 1 + 2j), ("return [{10**5000: 10**5000}]", [{"1": 1}]),
        ("return {(): 10**400}", {"1": 1.5}), ("return [10**5000] * 99", 1), ("return deque([float('nan')])", [1.5]),
    ):  # fmt: skip
        report = run(f"def f(): {code}", CallTests("f", [[]], [expected]))
        assert report.verdicts == ["wrong_answer"] and len(report.detail) < 1000, report


def test_bools_are_no_ints_as_members_and_keys_either():
    assert not same_result([1], {True}) and not same_result({1}, {True}) and not same_result({1: 2}, {True: 2})
    assert not same_result([(1, 2)], {(True, 2)}) and not same_result({"1": 2}, {True: 2})
    assert same_result([True], {True}) and same_result({True: 2}, {True: 2}) and same_result({(1, 2)}, {(1, 2)})
    assert not same_result({"1": 2}, {1: 2, "1": 2})


def test_large_answers_are_compared_by_their_encoding():
    for expected in (list(range(999)), ["x" * 5000], [float("inf")] * 99, {str(i): [i] for i in range(500)}):
        assert _judge((b"V", encode(expected, 1 << 20)), expected, 1e-9)[0] == "passed"
    for expected in ([float("nan")] * 999, [Opaque()] * 999):
        assert _judge((b"V", encode(expected, 1 << 20)), expected, 1e-9)[0] == "wrong_answer"
    wide, narrow = [10**300] * 200, [1e300] * 200  # the same to a tolerance, in 12 times the bytes
    assert _judge((b"V", encode(wide, 1 << 20)), narrow, 1e-9)[0] == "passed"
    assert "far more" in _judge((b"V", encode([0] * 9999, 1 << 20)), [0], 1e-9)[1]


# Libraries of other tests in this process may have switched subnormal numbers off.
FLOATS = st.floats(allow_nan=False, allow_subnormal=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False, allow_subnormal=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.frozensets(st.integers()) | st.sets(st.text()),
)  # fmt: skip


@given(PLAIN)
def test_values_cross_unchanged(value):
    back = decode(encode(value, 1 << 20))
    assert back == value and type(back) is type(value)


@given(st.binary(max_size=60))
def test_forged_bytes_are_a_value_or_an_error(data):
    with contextlib.suppress(ValueError, OverflowError):
        decode(data)


def test_subclasses_cross_as_what_they_really_are():
    class Liar(int):
        __class__ = str

        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Shy(list):
        def __iter__(self):
            return iter([9])

        def __len__(self):
            return 1

    point = namedtuple("point", "x y")
    assert decode(encode([Liar(3), Shy([1, 2]), point(1, 2)], 1000)) == [3, [1, 2], (1, 2)]
    assert decode(encode(IntEnum("E", "A").A, 1000)) == 1
    assert decode(encode([defaultdict(int, a=1), OrderedDict(b=2), Counter("c")], 1000)) == [
        {"a": 1},
        {"b": 2},
        {"c": 1},
    ]
    assert decode(encode(deque([1]), 1000)) == deque([1]) and decode(encode(range(2, 8, 3), 1000)) == range(2, 8, 3)
    assert list(decode(encode((i * i for i in range(3)), 1000))) == [0, 1, 4]
    assert isinstance(decode(encode(object(), 1000)), Opaque) and Opaque() != Opaque()


def test_malformed_and_oversized_values():
    for forged in (b"", b"i", b"l0x7fffffff;", b"s0x10;ab", b"d0x1;l0x0;N", b"l0x1;" * 300, b"?", b"NN", b"r0x1;N"):
        with pytest.raises(ValueError):
            decode(forged)
    deep = []
    for _ in range(500):
        deep = [deep]
    cycle = []
    cycle.append(cycle)
    for value in (deep, cycle, 1 << 100_000, "x" * 5000, [0] * 5000, (0 for _ in iter(int, 1))):
        with pytest.raises(ValueError, match="the value is"):
            encode(value, 4000)
    assert math.isnan(decode(encode(math.nan, 100)))


def test_decoding_costs_little_whatever_comes():
    """What once took quadratic time, or two hundred times the memory that was sent."""
    prime = (1 << 61) - 1  # ints with the same remainder have the same hash; tuples of -1 and -2, too
    numbers = [hex(prime * k).encode() for k in range(1, 20_000)]
    pairs = [[b"i-0x1;", b"i-0x2;"][k >> i & 1] for k in range(1 << 14) for i in range(14)]
    huge = b"i" + hex(1 << 4_000_000).encode() + b";"
    for forged in (
        b"S" + hex(len(numbers)).encode() + b";" + b"".join(b"i" + one + b";" for one in numbers),
        b"d" + hex(len(numbers)).encode() + b";" + b"".join(b"i" + one + b";N" for one in numbers),
        b"Z0x4000;" + b"".join(b"t0xe;" + b"".join(pairs[14 * k : 14 * k + 14]) for k in range(1 << 14)),
        b"l0x30d40;" + b"q0;" * 200_000,
        b"r0x186a0;" + huge + b"i0;" * 99_999,
    ):
        before = time.process_time()
        with pytest.raises(ValueError):
            decode(forged)
        assert time.process_time() - before < 2
    honest = {tuple(-1 - (k >> i & 1) for i in range(8)) for k in range(256)}
    assert decode(encode(honest, 1 << 20)) == honest
    with pytest.raises(ValueError, match="too large"):
        encode([deque()] * 200_000, 8 << 20)
