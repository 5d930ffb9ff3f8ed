"""Test programs of asserts: what counts as tested, whose failure is whose, and what a crash costs."""

import pytest

from rewards.code import Limits, run

# Importing pytest takes a slow and busy machine more than a second.
QUICK = Limits(cpu_s=4, idle_s=4, memory_bytes=512 << 20, output_bytes=1 << 20)
RIGHT, WRONG = "def f(x): return 2 * x", "def f(x): return 99"


def check(*lines, entry_point="f", **more):
    return {"type": "assert", "entry_point": entry_point, "test": "\n".join(lines), **more}


def verdicts(code, tests, **options):
    return run(code, tests, limits=QUICK, **options).verdicts


NOTHING_TESTED = {
    "check without an entry point": check("def check(candidate):", "    assert candidate(1) == 2", entry_point=""),
    "a class of unittest alone": check("import unittest", "class T(unittest.TestCase):",
                                       "    def test(self): self.assertEqual(f(1), 2)"),
    "empty": check(""),
    "never called": check("def examples():", "    assert f(1) == 2"),
    "about itself": check("cases = [(1, 2)]", "assert len(cases) == 1"),
    "ends before": check("import sys", "sys.exit(0)", "assert f(1) == 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING_TESTED)
@pytest.mark.parametrize("stop_early", [True, False])
def test_a_program_that_tests_nothing_passes_nobody(name, stop_early):
    for code in (RIGHT, WRONG):
        assert verdicts(code, NOTHING_TESTED[name], stop_early=stop_early) == ["infrastructure_error"]


SOMETHING_TESTED = {
    "main guard": check("if __name__ == '__main__':", "    assert f(1) == 2"),
    "pytest": check("def test_f():", "    assert f(1) == 2"),
    "unittest": check("import unittest", "class T(unittest.TestCase):",
                      "    def test(self): self.assertEqual(f(1), 2)", "if __name__ == '__main__':",
                      "    unittest.main()"),
    "no assert": check("if f(1) != 2: raise ValueError"),
    "exit": check("import sys", "sys.exit(f(1) != 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", SOMETHING_TESTED)
@pytest.mark.parametrize("stop_early", [True, False])
def test_other_ways_to_test(name, stop_early):
    assert verdicts(RIGHT, SOMETHING_TESTED[name], stop_early=stop_early) == ["passed"]
    assert verdicts(WRONG, SOMETHING_TESTED[name], stop_early=stop_early) == ["wrong_answer"]


def test_a_constant_can_be_tested():
    assert run("LIMIT = 2", check("assert LIMIT == 2", entry_point="")).passed
    assert verdicts("LIMIT = 3", check("assert LIMIT == 2", entry_point="")) == ["wrong_answer"]


@pytest.mark.parametrize("stop_early", [True, False])
def test_the_failure_of_a_test_program_is_not_the_submissions(stop_early):
    for lines in (
        ["import numpy as np", "assert np.allclose(f(1), 2)"],
        ["assert f(1) == 2", "import pytest"],
        ["try:", "    f(lambda: 1)", "except BaseException: pass", "assert f(1) == 2"],
    ):
        assert verdicts(RIGHT, check(*lines), stop_early=stop_early) == ["infrastructure_error"]
    for code in ("def g(x): return x", "def f(x): return y", "def f(x): raise ImportError('numpy')", "import numpy"):
        assert verdicts(code, check("assert f(1) == 2"), stop_early=stop_early) == ["runtime_error"]
    for entry in ("", "f"):  # a helper that the submission leaves out
        assert verdicts(RIGHT, check("assert g(1) == 2", entry_point=entry)) == ["wrong_answer"]


@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt",
                                  "SystemExit", "ExceptionGroup('x', [ValueError()])"])  # fmt: skip
def test_no_exception_ends_the_cases(name):
    lines = ("cases = [(1, 2), (2, 4)]", "assert all(map(lambda case: f(case[0]) == case[1], cases))",
             "for got, (_, want) in zip(map(f, [1, 2]), cases): assert got == want")  # fmt: skip
    code = f"def f(x): raise {name}"
    assert "passed" not in verdicts(code, check(*lines)) and "passed" not in verdicts(code, check(*lines[:2]))
    assert run(RIGHT, check(*lines)).passed


def test_a_forged_answer_replaces_no_name_of_the_test_program():
    answer = b"Vl0x2;d0x3;s0x0;O0x0;s0x3;absO0x0;s0xc;__builtins__d0x0;N"
    forged = f"import os\nbody = {answer!r}\nos.write(5, len(body).to_bytes(4, 'little') + body)\n"
    forged += "for i in range(9): os.write(5, b'\\x07\\0\\0\\0Vl0x2;Fi0;'[:4] + b'Vl0x2;FN')\n"
    forged = forged.replace("\\x07", "\\x08") + "import time\ntime.sleep(0.5)"
    assert "passed" not in verdicts(forged, check("assert abs(f(1) - 2) < 1e-6"))


def test_a_crash_is_worth_no_more_than_a_wrong_answer():
    tests = check("def check(c):", *(f"    assert c({i}) == {2 * i}" for i in range(10)))
    endings = {"os._exit(0)": "runtime_error", "return -1": "wrong_answer", "\n  while True: pass": "time_limit"}
    for ending, verdict in endings.items():
        report = run(f"import os\ndef f(x):\n  if x < 6: return 2 * x\n  {ending}", tests, limits=QUICK)
        assert report.verdicts == ["passed"] * 6 + [verdict] * 4 and report.fraction == 0.6
    weighed = run("import os\ndef f(x): return 2 * x if x < 6 else os._exit(0)", tests | {"weights": [2] * 6 + [1] * 4})
    assert weighed.fraction == 0.75
    assert verdicts(RIGHT, tests | {"weights": [1]}) == ["infrastructure_error"]
    loop = check("for i in range(9): assert f(i) == 2 * i")
    assert run("import os\ndef f(x): return 2 * x if x < 6 else os._exit(0)", loop).fraction == 0
    outside = check("for i in range(9):", "    r = f(i)", "    assert r == 2 * i")
    assert run("import os\ndef f(x): return 2 * x if x < 6 else os._exit(0)", outside).fraction == 0


def test_an_assert_that_has_no_turn_in_a_complete_program_is_not_counted():
    tests = check(
        "try:", "    f(-1)", "    assert False", "except ValueError: pass", "assert f(1) == 2", weights=[1, 3]
    )
    report = run("def f(x):\n    if x < 0: raise ValueError\n    return 2 * x", tests)
    assert report.passed and report.fraction == 1
    assert run("def f(x): return 2 * x", tests).fraction == 0.75


CLASSES = """
class V:
    def __init__(self, *x): self.x = list(x)
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i]
    def __setitem__(self, i, y): self.x[i] = y
    def __iter__(self): return iter(self.x)
    def __str__(self): return f"V({self.x})"
    def __add__(self, o): return V(*self.x, *o.x)
    def __contains__(self, y): return y in self.x
class Count:
    def __init__(self, n): self.i, self.n = 0, n
    def __iter__(self): return self
    def __next__(self):
        if self.i == self.n: raise StopIteration
        self.i += 1
        return self.i
"""


def test_objects_of_the_submission_answer_as_their_class_says():
    lines = ("v = V(1, 2)", "assert len(v) == 2 and v[1] == 2 and v[0:1] == [1]", "assert list(v) == [1, 2] and 2 in v",
             "assert str(v) == 'V([1, 2])' and f'{v}' == str(v)", "assert (v + V(3)).x == [1, 2, 3]",
             "v[0] = 5", "v.y = 7", "assert v.x == [5, 2] and v.y == 7 and 9 not in v",
             "assert list(Count(3)) == [1, 2, 3]", "c = Count(1)", "assert next(c) == 1",
             "try:", "    next(c)", "    raise ValueError", "except StopIteration: pass",
             "try:", "    v[9]", "    raise ValueError", "except IndexError: pass")  # fmt: skip
    for stop_early in (True, False):
        report = run(CLASSES, check(*lines, entry_point="V"), stop_early=stop_early)
        assert report.passed, report


def test_no_object_of_the_submission_decides_a_comparison():
    true = ("eq", "contains", "bool", "lt", "gt", "le", "ge", "instancecheck")
    zero = ("sub", "rsub", "abs", "neg", "hash", "index")
    methods = [f"__{name}__=lambda s, *a: True" for name in true] + [f"__{name}__=lambda s, *a: 0" for name in zero]
    methods += ["__iter__=lambda s: iter([])", "__float__=lambda s: 2.0"]
    liar = f"def f(x): return type('A', (), dict({', '.join(methods)}))()"
    for line in (
        "assert f(1) == 2", "assert abs(f(1) - 2) < 1e-6", "assert 2 - f(1) == 0", "assert 2 in f(1)",
        "assert f(1) in [2]", "assert f(1) <= 2", "assert not f(1)", "assert f(1) is True",
        "import math\nassert math.isclose(f(1), 2)", "assert {f(1)} == {2}", "assert [f(1)] == [2]",
    ):  # fmt: skip
        for stop_early in (True, False):
            assert "passed" not in verdicts(liar, check(line), stop_early=stop_early), line
