"""The code sandbox: right verdicts, attacks that fail, honest oddities that pass, nothing left behind."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from rewards.code import CallTests, InfrastructureError, Limits, StdinCase, StdinTests, run, sandbox_level
from rewards.code.asserts import as_calls
from rewards.code.codec import decode, encode
from rewards.code.compare import same_output, same_result
from rewards.code.reward import code_reward, extract_code
from rewards.code.sandbox import sandbox
from rewards.code.types import AssertTests, as_tests
from rollout.types import Sample

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
QUICK = Limits(cpu_s=1, idle_s=1, memory_bytes=512 << 20, output_bytes=1 << 20)
TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
ECHO = {"type": "stdin", "cases": [{"input": "3\n", "output": "6\n"}, {"input": "4\n", "output": "8\n"}]}
CHECK = {"type": "assert", "entry_point": "f", "test": "def check(candidate):\n    assert candidate(1) == 2\n"}


def verdicts(code, tests=TWICE):
    return run(code, tests, limits=QUICK).verdicts


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
    assert verdicts("import os\ndef f(x): return os.listdir('/etc')") == ["forbidden"] * 2
    assert verdicts("raise SystemExit(3)", ECHO) == ["runtime_error"] * 2


ATTACKS = {
    "sys.exit(0)": "import sys\ndef f(x): sys.exit(0)",
    "os._exit(0)": "import os\ndef f(x): os._exit(0)",
    "always equal": "class A:\n    def __eq__(self, o): return True\n    __ne__ = None\ndef f(x): return A()",
    "an int that is equal": "class A(int):\n    def __eq__(self, o): return True\ndef f(x): return A(0)",
    "a str that lies": "class A(str):\n    __eq__ = lambda self, o: True\n    __class__ = int\ndef f(x): return A('')",
    "patched json": "import json\njson.dumps = lambda *a, **k: '2'\ndef f(x): return 0",
    "patched len and type": "import builtins\nbuiltins.type = builtins.len = lambda *a: 2\ndef f(x): return 0",
    "opaque": "def f(x): return lambda: 2",
    "too deep": "def f(x):\n    v = []\n    for _ in range(9999): v = [v]\n    return v",
    "cycle": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "huge int": "def f(x): return 1 << (1 << 30)",
    "forged frame": "import os\ndef f(x):\n    os.write(3, b'\\x02\\0\\0\\0V' + b'T')\n    return 0",
    "frame walk": "import sys, gc\ndef f(x):\n    g = sys._getframe(1)\n    while g:\n"
    "        if [2, 10] in g.f_locals.values(): return 2 * x\n        g = g.f_back\n"
    "    return [o for o in gc.get_objects() if type(o) is list and o == [2, 10]] and 2 * x",
    "parent memory": "import os\ndef f(x):\n    return open(f'/proc/{os.getppid()}/maps').read() and 2 * x",
    "read /etc": "def f(x): return len(open('/etc/passwd').read()) and 2 * x",
    "write a file": "def f(x):\n    open('/tmp/r1_escape', 'w').write('x')\n    return 2 * x",
    "write in its directory": "def f(x):\n    open('here', 'w').write('x')\n    return 2 * x",
    "fork": "import os\ndef f(x):\n    os.fork()\n    return 2 * x",
    "subprocess": "import subprocess\ndef f(x): return subprocess.run(['true']).returncode + 2 * x",
    "kill": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 2 * x",
    "socket": "import socket\ndef f(x):\n    socket.socket()\n    return 2 * x",
    "environment": "import os\ndef f(x): return 2 * x if os.environ.get('R1_TEST_SECRET') else 0",
    "ctypes": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).fork() < 0: raise PermissionError\n    return 2 * x",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_fail(name, monkeypatch):
    monkeypatch.setenv("R1_TEST_SECRET", "hunter2")
    assert "passed" not in verdicts(ATTACKS[name])[:1]
    assert not Path("/tmp/r1_escape").exists()


def test_no_network_out():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.3)
        address = listener.getsockname()
        code = f"import socket\ndef f(x):\n    socket.create_connection({address!r}, 1)\n    return 2 * x"
        assert verdicts(code) == ["forbidden"] * 2
        with pytest.raises(TimeoutError):
            listener.accept()


def test_asserts_that_are_no_calls_run_beside_and_say_so():
    test = "def check(candidate):\n    for i in range(9):\n        assert candidate(i) == 2 * i\n"
    tests = {"type": "assert", "entry_point": "f", "test": test}
    right = run("def f(x): return 2 * x", tests)
    assert right.passed and right.forgeable
    assert not run("def f(x): return x", tests).passed
    assert run("def f(x): return x", tests).verdicts == ["wrong_answer"]
    assert not run("import os\ndef f(x): os._exit(0)", tests).passed
    assert not run("import sys\ndef f(x): sys.exit(0)", tests).passed
    assert not run("def f(x):\n    class A:\n        def __eq__(s, o): return 1 / 0\n    return A()", tests).passed


def test_asserts_become_calls():
    test = (
        "METADATA = {'author': 'x'}\ndef check(candidate):\n    assert candidate([1, 2], k) == 3\n"
        "    assert candidate((1, 2)) == {'a': (1,)}\n    assert abs(candidate(1.5) - 0.5) < 1e-6\n"
        "    assert candidate(-1) is True, 'why'\n    assert True\n"
    )
    calls, whole = as_calls(AssertTests(test, "f"))
    assert calls.inputs == [[(1, 2)], [1.5], [-1]]
    assert calls.outputs == [{"a": (1,)}, 0.5, True]
    assert calls.tolerances == [0.0, 1e-6, 0.0]
    assert not whole  # `k` is no literal
    assert as_calls(AssertTests(test.replace(", k", ""), "f"))[1]
    assert as_calls(AssertTests("def check(candidate)", "f")) == (None, False)


HONEST = {
    "print": "print(2 * int(input()))",
    "buffers": "import sys\nn = int(sys.stdin.buffer.readline())\nsys.stdout.buffer.write(b'%d\\n' % (2 * n))",
    "open(0)": "print(2 * int(open(0).read()))",
    "os.read": "import os\nos.write(1, b'%d' % (2 * int(os.read(0, 100))))",
    "iteration": "import sys\nfor line in sys.stdin: print(2 * int(line))",
    "exit": "print(2 * int(input()))\nexit()",
    "os._exit": "import os, sys\nprint(2 * int(input()))\nsys.stdout.flush()\nos._exit(0)",
    "atexit": "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
    "main guard": "if __name__ == '__main__':\n    print(2 * int(input()))",
    "future": "from __future__ import annotations\nprint(2 * int(input()))",
    "thread": "import threading\nthreading.Thread(target=lambda: print(2 * int(input()))).start()",
    "deep recursion": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
    "def g(n): return 0 if n == 0 else 1 + g(n - 1)\n"
    "def main(): g(20000); print(2 * int(input()))\nt = threading.Thread(target=main); t.start(); t.join()",
    "raised limits": "import resource as r\nr.setrlimit(r.RLIMIT_STACK, (1 << 26, 1 << 26))\nprint(2 * int(input()))",
    "asyncio": "import asyncio\nasync def main(): print(2 * int(input()))\nasyncio.run(main())",
    "late import": "import json, decimal, fractions, zoneinfo, uuid\nprint(2 * int(input()))",
    "stderr": "import sys\nprint('log', file=sys.stderr)\nprint(2 * int(input()))",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(name):
    report = run(HONEST[name], ECHO)
    assert report.passed, report


def test_comparison_rules():
    assert same_output("a\nb\n", "a  \nb\n\n")
    assert not same_output("a\nb\n", "a\n\nb")
    assert not same_output("a b", "a  b")
    assert same_result([1, 2], (1, 2)) and same_result([1, 2], {2, 1}) and same_result({"1": 2}, {1: 2})
    assert same_result(0.3, 0.1 + 0.2) and same_result(1, 1.0) and not same_result(0.3, 0.3001)
    assert not same_result(1, True) and not same_result(True, 1) and not same_result(None, 0)
    assert not same_result(float("nan"), float("nan")) and not same_result(1.0, float("inf"))
    assert not same_result([1, 2], (1, 2), exact=True) and same_result(True, 1, exact=True)
    assert not same_result("1", 1) and not same_result([1], [1, 2]) and not same_result(10**400, 1.5)
    values = [None, True, -5, 10**50, 0.1, float("inf"), 1 + 2j, "ü\ud800", b"x", [1, (2, {3})], {"a": [None]}, {1: 2}]
    for value in values:
        assert decode(encode(value, 10_000)) == value
    for forged in (b"", b"i", b"l0x7fffffff;", b"s0x10;ab", b"d0x1;l0x0;N", b"l0x1;" * 300, b"?", b"NN"):
        with pytest.raises(ValueError):
            decode(forged)


def test_malformed_tests_are_refused():
    for bad in ({}, {"type": "magic"}, {"type": "stdin", "cases": []}, {"type": "call", "inputs": [[1]]}, "[1]"):
        with pytest.raises(ValueError):
            as_tests(bad)


def test_reward_scores_skips_and_raises(monkeypatch):
    row = {"tests": json.dumps(TWICE)}
    half = "<answer>\n```python\ndef f(x):\n    return x + 1\n```\n</answer>"
    assert code_reward(Sample("", half, row=row)) == 0.0
    assert code_reward(Sample("", half, row=row), partial=True) == 0.5
    assert code_reward(Sample("", half)) is None
    monkeypatch.setattr("rewards.code.sandbox.SERVER", Path("/nowhere/server.py"))
    server = sandbox()._process  # asked for once: a second call would replace a dead one
    os.kill(server.pid, 9)
    server.wait()
    with pytest.raises(InfrastructureError):
        code_reward(Sample("", half, row=row))


def test_extract_code():
    fenced = "```python\ndef f(): pass\n```"
    assert extract_code(f"<think>x</think><answer>\n{fenced}\n</answer>") == "def f(): pass\n"
    assert extract_code(f"<think>{fenced}</think><answer>none</answer>") is None
    assert extract_code(f"{fenced}\nor better\n```\nprint(1)\n```\n") == "print(1)\n"
    assert extract_code(f"{fenced}\n```text\nout\n```") == "def f(): pass\n"
    assert extract_code("def f(): pass") == "def f(): pass"
    assert extract_code(f"<think>{fenced}") is None
    assert extract_code(f"<answer>{fenced}") is None


def test_a_killed_server_is_an_infrastructure_error_and_then_replaced():
    assert run("def f(x): return 2 * x", TWICE).passed
    server = sandbox()._process.pid
    timer = threading.Timer(0.3, lambda: os.kill(server, 9))
    timer.start()
    assert run("import time\ndef f(x): time.sleep(60)", TWICE).verdicts == ["infrastructure_error"]
    assert run("def f(x): return 2 * x", TWICE).passed


def test_nothing_is_left_behind():
    def residue():
        return len(os.listdir("/proc/self/fd")), sum("r1-sandbox" in name for name in os.listdir("/tmp"))

    run("def f(x): return 2 * x", TWICE)
    before = residue()
    started = time.process_time()
    for _ in range(100):
        run("def f(x): return 2 * x", TWICE)
    assert residue() == before
    assert time.process_time() - started < 1.0  # the grader's own share: below 10 ms a submission


def test_level_is_reported():
    level = sandbox_level()
    assert level["name"] in ("full", "partial", "none")
    assert {"seccomp", "landlock", "no_new_privs", "namespaces", "rlimits", "capabilities_dropped"} <= set(level)


@pytest.mark.skipif(not DATA.exists(), reason="labelled development cases are not on this machine")
def test_development_cases(capsys):
    wrong = []
    cases = [json.loads(line) for line in (DATA / "code_dev.jsonl").read_text().splitlines()][::6]
    for case in cases:
        if run(case["solution"], case["tests"]).passed != (case["expected"] == "pass"):
            wrong.append((case["task"], case["fmt"]))
    hostile = [json.loads(line) for line in (DATA / "hostile_dev.jsonl").read_text().splitlines()]
    hostile = [case for case in hostile if not case.get("within_s")]  # those only burn time; shorter ones are above
    for case in hostile:
        passed = run(case["code"], case["tests"], limits=QUICK, stop_early=True).passed
        if passed != (case["expected"] == "pass") and not case.get("contested"):
            wrong.append(case["name"])
        assert not case.get("forbid_file") or not os.path.exists(case["forbid_file"])
    with capsys.disabled():
        print(f"\ncode_dev and hostile_dev: {len(cases)} + {len(hostile)} cases, wrong: {wrong}")
    assert wrong == []
