"""Verdicts of the code grader: three forms of tests, limits, early stop, partial credit, honest oddities."""

import json

import pytest

from rewards.code import CallTests, Limits, StdinCase, StdinTests, run
from rewards.code.types import as_tests

QUICK = Limits(cpu_s=1, idle_s=1, memory_bytes=512 << 20, output_bytes=1 << 20)
TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
ECHO = {"type": "stdin", "cases": [{"input": "3\n", "output": "6\n"}, {"input": "4\n", "output": "8\n"}]}
CHECK = {"type": "assert", "entry_point": "f", "test": "def check(candidate):\n    assert candidate(1) == 2\n"}


def verdicts(code, tests=TWICE, **options):
    return run(code, tests, limits=QUICK, **options).verdicts


def check(*lines, entry_point="f"):
    return {"type": "assert", "entry_point": entry_point, "test": "\n".join(lines)}


def test_the_three_forms():
    assert run("def f(x): return 2 * x", TWICE).passed
    assert run("class Solution:\n    def f(self, x): return 2 * x", TWICE).passed
    assert run("print(2 * int(input()))", ECHO).passed
    assert run("def f(x): return 2 * x", CHECK).passed
    assert run("def f(x): return 2 * x", CallTests("f", [[1]], [2])).passed
    assert run("print(6)", StdinTests([StdinCase("", "6")])).passed
    assert run("def f(x): return 2 * x", json.dumps(TWICE)).passed
    assert verdicts("def f(x): return x + 1") == ["passed", "wrong_answer"]
    assert verdicts("print(2 * int(input()) // 3 * 3)", ECHO) == ["passed", "wrong_answer"]
    assert verdicts("def f(x): return x", CHECK) == ["wrong_answer"]


def test_verdicts_name_what_happened():
    assert verdicts("def f(x): return 1 / 0") == ["runtime_error"] * 2
    assert verdicts("def f(x) return") == ["runtime_error"] * 2
    assert verdicts("def g(x): return x") == ["runtime_error"] * 2
    assert verdicts("def f(x):\n    while True: pass") == ["time_limit"] * 2
    assert verdicts("import time\ndef f(x): time.sleep(99)") == ["time_limit"] * 2
    assert verdicts("def f(x): return [0] * 10**9") == ["memory_limit"] * 2
    assert verdicts("while True: print('x' * 1000)", ECHO) == ["output_limit"] * 2
    assert verdicts("import os\ndef f(x): os.fork()") == ["forbidden"] * 2
    assert verdicts("raise SystemExit(3)", ECHO) == ["runtime_error"] * 2
    assert verdicts("import ctypes\ndef f(x): ctypes.string_at(0)") == ["runtime_error"] * 2


def test_each_call_has_its_own_time():
    slow = "import time\ndef f(x):\n    end = time.process_time() + 0.7\n    while time.process_time() < end: pass\n"
    tests = {"type": "call", "fn_name": "f", "inputs": [[1]] * 3, "outputs": [1] * 3}
    assert verdicts(slow + "    return x", tests) == ["passed"] * 3


def test_a_lost_call_does_not_take_the_others_with_it():
    tests = {"type": "call", "fn_name": "f", "inputs": [[0], [1], [2], [3]], "outputs": [0, 1, 2, 3]}
    assert verdicts("import os\ndef f(x): return x if x != 1 else os._exit(0)", tests) == [
        "passed", "runtime_error", "passed", "passed"]  # fmt: skip
    hang = "def f(x):\n    while x == 2: pass\n    return x"
    assert verdicts(hang, tests) == ["passed", "passed", "time_limit", "passed"]


def test_two_tests_at_a_limit_are_enough():
    tests = {"type": "call", "fn_name": "f", "inputs": [[0]] * 9, "outputs": [0] * 9}
    report = run("def f(x):\n    while True: pass", tests, limits=QUICK)
    assert report.verdicts == ["time_limit"] * 9 and report.cpu_s < 3


@pytest.mark.parametrize(
    "code, tests, most",
    [
        ("def f(x): return 0", TWICE, 1),
        ("print(0)", ECHO, 1),
        ("def f(x): return 0", check("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"), 1),
        ("import time\ndef f(x):\n    if x == 5: time.sleep(99)", TWICE, 1),
    ],
)
def test_an_early_stop_ends_at_the_first_failure(code, tests, most):
    report = run(code, tests, stop_early=True)
    assert not report.passed and len(report.verdicts) == most


def test_partial_credit_and_weights():
    half = "def f(x): return x + 1"
    assert run(half, TWICE).fraction == 0.5
    assert run(half, TWICE | {"weights": [3, 1]}).fraction == 0.75
    assert run("print(6)", ECHO | {"weights": [1, 4]}).fraction == 0.2
    asserts = check("def check(c):", "    assert c(1) == 2", "    assert c(2) == 9", "    assert c(3) == 4")
    report = run(half, asserts)
    assert report.verdicts == ["passed", "wrong_answer", "passed"]
    assert run(half, asserts | {"weights": [1, 2, 1]}).fraction == 0.5


def test_malformed_tests_are_refused():
    for bad in (
        {}, {"type": "magic"}, {"type": "stdin", "cases": []}, {"type": "call", "inputs": [[1]]}, "[1]",
        TWICE | {"weights": [1]}, TWICE | {"weights": [1, -1]}, TWICE | {"outputs": [1]}, TWICE | {"inputs": [1, 2]},
        TWICE | {"inputs": ["a", "b"]}, TWICE | {"weights": 3}, TWICE | {"weights": [None, 1]}, TWICE | {"outputs": 3},
        TWICE | {"tolerance": []}, {"type": "stdin", "cases": [1]}, {"type": "stdin", "cases": 1},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            as_tests(bad)
    assert as_tests(TWICE | {"tolerance": None}).tolerance == 1e-9
    assert as_tests({"type": "stdin", "cases": [{"input": ["3", "4"], "output": ["7"]}]}).cases[0].input == "3\n4"


def test_a_test_program_that_does_not_compile_is_nobodys_failure():
    assert verdicts("def f(x): return x", check("assert f(1) ==")) == ["infrastructure_error"]
    assert verdicts("def f(x): return x(1)", check("assert f(lambda x: x) == 1")) == ["infrastructure_error"]


ASSERTS = {
    "loop": (["for i in range(9):", "    assert f(i) == 2 * i"], "def f(x): return 2 * x"),
    "truth": (["assert f(1)", "assert not f(0)"], "def f(x): return x * 2"),
    "close": (["assert abs(f(0.1) - 0.2) < 1e-9"], "def f(x): return 2 * x"),
    "math": (["import math", "assert math.isclose(f(0.1), 0.2)"], "def f(x): return x + x"),
    "names of the standard library": (["assert math.isclose(f(1), 2)", "assert Counter(f('ab')) == Counter('abab')"],
                                      "import math\ndef f(x): return 2 * x"),
    "helper": (["for w in ['ab', 'c']:", "    assert f(encode(w)) == w"],
               "def encode(s): return s[::-1]\ndef f(s): return s[::-1]"),
    "constant": (["assert f(1) == LIMIT"], "LIMIT = 2\ndef f(x): return 2 * x"),
    "in place": (["a = [3, 1, 2]", "f(a)", "assert a == [1, 2, 3]"], "def f(x): x.sort()"),
    "exception": (["try:", "    f(-1)", "    assert False", "except ValueError as e:", "    assert 'bad' in str(e)"],
                  "def f(x):\n    raise ValueError('bad')"),
    "iterator": (["assert list(f(3)) == [0, 1, 2]", "assert sorted(f(2)) == [0, 1]"], "def f(n): yield from range(n)"),
    "keywords": (["assert f(b=1, a=3) == 2"], "def f(a, b): return a - b"),
    "class": (["s = Stack(3)", "s.push(1)", "assert s.pop() == 1 and s.size == 3"],
              "class Stack:\n    def __init__(self, n): self.v, self.size = [], n\n"
              "    def push(self, x): self.v.append(x)\n    def pop(self): return self.v.pop()\ndef f(): pass"),
    "types": (["assert f(1) == (1, {2: {3}})", "assert f(1) != [1, {2: {3}}]", "assert type(f(1)) is tuple"],
              "def f(x): return (x, {2: {3}})"),
    "check called by itself": (["def check(c):", "    assert c(1) == 2", "check(f)"], "def f(x): return 2 * x"),
    "no entry point": (["assert product(2, 3) == 6"], "def product(a, b): return a * b"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASSERTS)
@pytest.mark.parametrize("stop_early", [True, False])
def test_test_programs_ask_for_plain_values(name, stop_early):
    lines, code = ASSERTS[name]
    entry_point = "" if name == "no entry point" else "f"
    report = run(code, check(*lines, entry_point=entry_point), stop_early=stop_early)
    assert report.passed, report
    wrong = code.replace("return", "return None and").replace("sort", "copy").replace("yield from", "yield ")
    wrong = wrong.replace("'bad'", "'other'")
    assert not run(wrong, check(*lines, entry_point=entry_point), stop_early=stop_early).passed


def test_ways_to_fail_a_test_program():
    assert verdicts("def f(x): return x", CHECK) == ["wrong_answer"]
    assert verdicts("def f(x): return 1 / 0", CHECK) == ["runtime_error"]
    assert verdicts("def g(x): return 1 / 0", CHECK) == ["runtime_error"]
    assert verdicts("def f(x) return", CHECK) == ["runtime_error"]
    assert verdicts("import os\ndef f(x): os._exit(0)", CHECK) == ["runtime_error"]
    assert verdicts("import sys\ndef f(x): sys.exit(0)", CHECK) == ["runtime_error"]
    assert verdicts("raise SystemExit(0)", CHECK) == ["runtime_error"]
    assert verdicts("def f(x):\n    while True: pass", CHECK) == ["time_limit"]
    assert verdicts("import time\ndef f(x): time.sleep(99)", CHECK) == ["time_limit"]
    assert verdicts("def f(x): return bytearray(10**10)", CHECK) == ["memory_limit"]
    assert verdicts("def f(x): return x", check("while f(1): pass")) == ["time_limit"]
    flood = "import os\nos.write(5, b'\\xff' * 8)\nwhile True: os.write(5, bytes(1 << 16))"
    assert verdicts(flood, CHECK)[0] in ("runtime_error", "time_limit")


HONEST = {
    "print": "print(2 * int(input()))",
    "buffers": "import sys\nn = int(sys.stdin.buffer.readline())\nsys.stdout.buffer.write(b'%d\\n' % (2 * n))",
    "open(0)": "print(2 * int(open(0).read()))",
    "os.read": "import os\nos.write(1, b'%d' % (2 * int(os.read(0, 100))))",
    "iteration": "import sys\nfor line in sys.stdin: print(2 * int(line))",
    "readlines": "import sys\ninput = sys.stdin.readline\nprint(2 * int(input()))",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(2 * int(line))",
    "io.BytesIO": "import os, io\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
    "print(2 * int(input()))",
    "mmap": "import mmap\nm = mmap.mmap(0, 0, prot=mmap.PROT_READ)\nprint(2 * int(m.readline()))",
    "exit": "print(2 * int(input()))\nexit()",
    "os._exit": "import os, sys\nprint(2 * int(input()))\nsys.stdout.flush()\nos._exit(0)",
    "atexit": "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
    "main guard": "if __name__ == '__main__':\n    print(2 * int(input()))",
    "future": "from __future__ import annotations\nprint(2 * int(input()))",
    "thread": "import threading\nthreading.Thread(target=lambda: print(2 * int(input()))).start()",
    "pool": "from concurrent.futures import ThreadPoolExecutor as P\n"
    "print(*P(20).map(lambda x: 2 * x, [int(input())]))",
    "deep recursion": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 29)\n"
    "def g(n): return 0 if n == 0 else 1 + g(n - 1)\n"
    "def main(): g(50000); print(2 * int(input()))\nt = threading.Thread(target=main); t.start(); t.join()",
    "deep recursion in C": "import sys\nsys.setrecursionlimit(10**6)\nfrom functools import lru_cache\n"
    "@lru_cache(None)\n"
    "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ng(30000)\nprint(2 * int(input()))",
    "raised limits": "import resource as r\nr.setrlimit(r.RLIMIT_STACK, (1 << 29, r.RLIM_INFINITY))\n"
    "print(2 * int(input()))",
    "asyncio": "import asyncio\nasync def main(): print(2 * int(input()))\nasyncio.run(main())",
    "late import": "import json, decimal, fractions, zoneinfo, uuid, hashlib, sqlite3\nprint(2 * int(input()))",
    "stderr": "import sys\nprint('log', file=sys.stderr)\nprint(2 * int(input()))",
    "closed stdout": "import sys\nprint(2 * int(input()))\nsys.stdout.close()",
    "input file": "import os, sys\nif os.path.exists('input.txt'): sys.stdin = open('input.txt')\n"
    "print(2 * int(input()))",
    "no input file": "try: f = open('input.txt')\nexcept FileNotFoundError: f = open(0)\nprint(2 * int(f.read()))",
    "200 MB": "x = bytearray(200 * 10**6)\nprint(2 * int(input()))",
    "devnull": "import os\nopen(os.devnull, 'w').write('x')\nprint(2 * int(input()))",
    "signals of its own": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print(2 * int(input())))\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "dup": "import os, sys\nos.dup2(1, 9)\nos.write(9, b'%d' % (2 * int(input())))",
    "fast input": "import sys\nfrom io import BytesIO\nimport os\n"
    "class F:\n    def __init__(s, file):\n        s.fd = file.fileno()\n"
    "        s.out = 'x' in file.mode or 'r' not in file.mode\n"
    "    def read(s): return os.read(s.fd, max(os.fstat(s.fd).st_size, 8192))\n"
    "i, o = F(sys.stdin), F(sys.stdout)\nassert o.out and not i.out\nos.write(o.fd, b'%d' % (2 * int(i.read())))",
    "/dev/stdin": "print(2 * int(open('/dev/stdin').read()))",
    "/dev/stdout": "open('/dev/stdout', 'w').write(str(2 * int(input())))",
    "profile": "import cProfile\ncProfile.run('x = 2 * int(input())', '/dev/null')\nprint(x)",
    "exec": "exec('def f(x):\\n  return 2 * x')\nprint(f(int(input())))",
    "written at exit": "import atexit, io, sys\nout = io.BytesIO()\nsys.stdout = io.TextIOWrapper(out)\n"
    "@atexit.register\ndef write():\n    sys.stdout.flush()\n    sys.__stdout__.buffer.write(out.getvalue())\n"
    "print(2 * int(input()))",
    "text at exit": "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
    "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(2 * int(input()))",
    "saved stdout": "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nprint(2 * int(input()))\n"
    "old.write(sys.stdout.getvalue())",
    "never closed": "out = open(1, 'w')\nout.write(str(2 * int(input())))",
    "never closed, os.fdopen": "import os\nout = os.fdopen(1, 'w')\nout.write(str(2 * int(input())))",
    "finalizer": "import sys\nclass A:\n    def __del__(self): sys.stdout.write(str(2 * n))\nn = int(input())\na = A()",
    "its file": "import os\nprint(2 * int(input()) if os.path.basename(__file__) == 'submission.py' else 0)",
    "random": "import random, secrets, os\nrandom.random(), secrets.token_bytes(3), os.urandom(3)\n"
    "print(2 * int(input()))",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(name):
    report = run(HONEST[name], ECHO)
    assert report.passed, report


def test_names_that_leetcode_imports_are_there_for_calls_alone():
    solution = (
        "class Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n        return reduce(operator.add, x)"
    )
    assert run(solution, CallTests("f", [[[1, 2]]], [3])).passed
    assert verdicts("print(math.floor(2.0 * int(input())))", ECHO) == ["runtime_error"] * 2


def test_each_call_has_its_own_solution():
    solution = "class Solution:\n    def __init__(self): self.seen = []\n"
    solution += "    def f(self, x):\n        self.seen.append(2 * x)\n        return self.seen[0]"
    assert run(solution, TWICE).passed
    assert verdicts("class Solution:\n    def g(self): pass") == ["runtime_error"] * 2


def test_each_call_has_its_own_room_for_output():
    tests = CallTests("f", [[60_000]] * 6, [list(range(60_000))] * 6)  # 0.5 MB each, 1 MB allowed
    assert verdicts("def f(n): return list(range(n))", tests) == ["passed"] * 6
    assert verdicts("def f(n): return list(range(3 * n))", tests) == ["output_limit"] * 6
    strays = "import os\nfor i in range(20_000): os.write(3, b'\\x02\\0\\0\\0Qx')\ndef f(x): return 2 * x"
    assert verdicts(strays) == ["output_limit"] * 2


def test_what_a_submission_says_is_cut():
    shout = "import os\nbody = b'E' + b'x' * 500_000\nbody = len(body).to_bytes(4, 'little') + body\n"
    shout += "while body: body = body[os.write(3, body):]\nos._exit(1)"
    for tests in (TWICE, ECHO):
        assert len(run(shout, tests, limits=QUICK).detail) <= 300


def test_large_input_and_output():
    text = " ".join(map(str, range(100_000))) + "\n"
    assert run("import sys\nprint(sys.stdin.read(), end='')", StdinTests([StdinCase(text, text)])).passed
    numbers = list(range(50_000))
    assert run("def f(x): return x[::-1]", CallTests("f", [[numbers]], [numbers[::-1]])).passed
