"""The grader survives what children, attackers and the operator do to it, and leaves nothing behind."""

import contextlib
import json
import os
import random
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import rewards.code.sandbox as sandboxes
from rewards.code import Limits, run
from rewards.scorer import Scorer
from rollout.types import Sample
from tests.rewards.code_rounds import descendants

TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
ECHO = {"type": "stdin", "cases": [{"input": "3\n", "output": "6\n"}]}
CHECK = {"type": "assert", "entry_point": "f", "test": "for i in range(9): assert f(i) == 2 * i"}
FORMS = (
    ("def f(x): return 2 * x", TWICE),
    ("print(2 * int(input()))", ECHO),
    ("def f(x): return 2 * x", CHECK),
)


def state():
    """Open descriptors, processes below this one, threads, resident pages."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(os.listdir("/proc/self/fd")), len(descendants(os.getpid())), threading.active_count(), pages


@pytest.mark.parametrize("code, tests", FORMS)
def test_a_run_leaves_nothing(code, tests):
    hostile = "import os, sys\nsys.stderr.write('x')\nos._exit(3)"
    for _ in range(20):
        run(code, tests)
        run(hostile, tests)
    for last in (
        False,
        False,
        True,
    ):  # a leak grows in each round, this process now and then
        before = state()
        for _ in range(100):
            assert run(code, tests).passed
            assert not run(hostile, tests).passed
        after = state()
        assert after[:3] == before[:3]
        grown = after[3] - before[3]
        if grown < 256:  # 1 MiB
            break
        assert not last, f"{grown} pages more in each round"


def test_a_thread_that_ends_takes_its_servers_with_it():
    before = state()[:2]
    with ThreadPoolExecutor(4) as threads:
        assert all(report.passed for report in threads.map(lambda form: run(*form), FORMS * 4))
    deadline = time.monotonic() + 10
    while state()[:2] != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state()[:2] == before


@pytest.mark.parametrize("code, tests", FORMS)
def test_any_process_may_be_killed_at_any_moment(code, tests):
    """Each time one process of the sandboxes, picked by chance, at a random moment of a run that waits a little."""
    chance = random.Random(repr(tests))
    code = code.replace("return", "import time; time.sleep(0.02); return").replace(
        "print", "import time; time.sleep(0.02)\nprint"
    )
    assert run(code, tests).passed
    hits = 0
    for _ in range(12):
        victim = chance.choice(sorted(descendants(os.getpid())))
        timer = threading.Timer(chance.uniform(0, 0.04), kill, (victim,))
        timer.start()
        report = run(code, tests)
        timer.join()
        hits += report.verdicts == ["infrastructure_error"]
        assert report.passed or report.verdicts[-1:] == ["infrastructure_error"], report
        after = run(code, tests)
        assert after.passed, (report, after)
    sandboxes.discard()
    assert hits and not [pid for pid in descendants(os.getpid()) if is_ours(pid)]


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_ours(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return "server.py" in file.read()
    except OSError:
        return False


def test_a_killed_grader_takes_its_servers_with_it():
    read, write = os.pipe()
    grader = os.fork()
    if grader == 0:
        run(*FORMS[2])
        os.write(write, repr(sorted(descendants(os.getpid()))).encode())
        run("import time\ndef f(x): time.sleep(60)", TWICE, limits=Limits(idle_s=60))
        os._exit(0)
    servers = eval(os.read(read, 999))
    os.close(read), os.close(write)
    assert len(servers) >= 2
    time.sleep(0.2)
    os.kill(grader, signal.SIGKILL)
    os.waitpid(grader, 0)
    deadline = time.monotonic() + 10
    while any(map(is_ours, servers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_ours, servers))


BOMBS = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "10 GB": "x = []\nwhile True: x.append(bytearray(b'x') * 10**8)",
    "endless printer": "while True: print('x' * 1000)",
    "threads": "import threading, time\nthreading.stack_size(32768)\n"
    "while True: threading.Thread(target=time.sleep, args=(99,)).start()",
}


def test_bombs_beside_honest_submissions():
    quick = Limits(cpu_s=1, idle_s=1, memory_bytes=512 << 20)
    stop = threading.Event()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # other tests of this process have left their mark

    def bomb(code):
        seen = []
        while not stop.is_set():
            seen += run(code, ECHO, limits=quick).verdicts
        return seen

    with ThreadPoolExecutor(len(BOMBS)) as threads:
        thrown = {name: threads.submit(bomb, code) for name, code in BOMBS.items()}
        try:
            honest = [run(*FORMS[i % 3]) for i in range(50)]
        finally:
            stop.set()
    assert all(report.passed for report in honest)
    expected = {"fork bomb": {"time_limit"}, "10 GB": {"memory_limit"}, "endless printer": {"output_limit"}}
    for name, verdicts in expected.items():
        assert set(thrown[name].result()) == verdicts, name
    assert not {"passed", "infrastructure_error"} & set(thrown["threads"].result())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 512 << 10  # KiB: the grader kept none of it


def test_a_forked_grader_starts_its_own_servers():
    assert run(*FORMS[0]).passed
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run(*FORMS[0]).passed else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert run(*FORMS[0]).passed


def test_a_control_group_bounds_the_whole_and_goes_away():
    group = sandboxes.sandbox()._group
    if group is None:
        pytest.skip("no control group can be made here")
    group._limit_file.write_text(str(100 << 20))
    report = run("print(len(bytearray(b'x') * (200 << 20)))", ECHO)
    assert report.verdicts == ["memory_limit"] and "out of memory" in report.detail, report
    folders = {group._memory, group._processes}
    assert all(folder.exists() for folder in folders)
    sandboxes.discard()
    assert not any(folder.exists() for folder in folders)
    assert run(*FORMS[1]).passed


def test_groups_of_killed_graders_are_swept():
    if sandboxes.sandbox()._group is None:
        pytest.skip("no control group can be made here")
    gone = os.fork()
    if gone == 0:
        run(*FORMS[0])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(gone, 0)
    deadline = time.monotonic() + 10
    while find_groups(gone) and time.monotonic() < deadline:
        time.sleep(0.05)
        sandboxes.discard()
        sandboxes.sandbox()
    assert find_groups(gone) == []


def find_groups(pid):
    parents = {folder.parent for folder in (sandboxes.sandbox()._group._memory, sandboxes.sandbox()._group._processes)}
    return [path for parent in parents for path in parent.glob(f"r1-sandbox-{pid}-*")]


QUICK = Limits(cpu_s=1, idle_s=1, wall_s=12, memory_bytes=512 << 20)


def test_no_accounts_but_the_watch_end_a_submission():
    """The kernel's limit goes by samples of the clock, which a program can meet without computing."""
    shown = "import resource\nprint(resource.getrlimit(resource.RLIMIT_CPU)[0] > 60)"
    assert run(shown, {"type": "stdin", "cases": [{"input": "", "output": "True"}]}, limits=QUICK).passed
    slow = "import time\ndef f(x):\n    while time.process_time() < x: pass\n    return 2 * x\n"
    tests = {"type": "call", "fn_name": "f", "inputs": [[0.1], [3], [5]], "outputs": [0.2, 6, 10]}
    total = Limits(cpu_s=1, idle_s=1, total_cpu_s=1)
    assert run(slow, tests, limits=total).verdicts == ["passed", "time_limit", "time_limit"]


IDLE = {
    "frames": "import os, time\nwhile True:\n    os.write(3, b'\\2\\0\\0\\0VN')\n    time.sleep(0.2)",
    "zombie": "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    "ctypes.CDLL(None).syscall(60, 0)",
}


@pytest.mark.parametrize("name", IDLE)
def test_nobody_sleeps_beyond_the_limit(name):
    report = run(IDLE[name], ECHO, limits=QUICK)
    assert report.verdicts == ["time_limit"] and "without computing" in report.detail, report


def test_a_closed_scorer_leaves_no_control_group():
    if sandboxes.sandbox()._group is None:
        pytest.skip("no control group can be made here")
    parents = {folder.parent for folder in (sandboxes.sandbox()._group._memory, sandboxes.sandbox()._group._processes)}
    with Scorer({"code": 1.0}, workers=1) as scorer:
        completion = "```python\ndef f(x): return 2 * x\n```"
        assert scorer([[Sample("", completion, row={"tests": json.dumps(TWICE)})]]).total_P_G == [[1.0]]
        worker = scorer._pool._workers[0].process.pid
        assert [path for parent in parents for path in parent.glob(f"r1-sandbox-{worker}-*")]
    assert [path for parent in parents for path in parent.glob(f"r1-sandbox-{worker}-*")] == []
