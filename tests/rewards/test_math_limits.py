"""No answer hangs the verifier, from wherever it is called; what must be killed is killed and replaced."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rewards.math import symbolic, verify, verify_many
from rewards.scorer import Scorer
from rollout.types import Sample
from tests.rewards.hostile_math import hostile

ROOT = Path(__file__).resolve().parents[2]
GOLDS = ["7", "1/2", "x^2+1", "(1,2)", "(1,2]\\cup[3,4)", "5 cm", "2, 3", "k\\pi, k\\in\\mathbb{Z}", "12:30", "B"]
ORDINARY = [("1/2", "\\boxed{0.5}"), ("x^2-1", "\\boxed{(x-1)(x+1)}"), ("7", "\\boxed{8}"), ("(1,2)", "(2,1)")]


@pytest.mark.parametrize("part", range(6))
def test_hostile_answers_are_cheap(part):
    for i, text in enumerate(hostile(300)[part::6]):
        gold = GOLDS[i % len(GOLDS)]
        started = time.process_time()
        assert verify(gold, text) in (True, False)
        assert verify(text, gold) in (True, False, None)
        assert time.process_time() - started < 2.0  # two verdicts


def test_a_hundred_thousand_characters():
    for text in ("1" * 100_000, "(" * 50_000 + "7" + ")" * 50_000, "\\boxed{" * 12_000 + "7"):
        assert verify("7", f"\\boxed{{{text}}}") in (True, False)
    assert verify("1" * 100_000, "1" * 100_000) is True
    assert verify("7", "\\boxed{" + "{" * 40_000 + "7" + "}" * 40_000 + "}") is True


def test_verify_many_agrees_and_survives():
    pairs = [*ORDINARY, ("7", "9^{9^{9^9}}"), ("", "7")]
    assert verify_many(pairs, workers=2, timeout=5) == [True, True, False, False, False, None]


def test_a_hundred_hostile_ones_leave_the_others_right():
    pairs = [pair for text in hostile(60) for pair in (*ORDINARY, ("7", text))]
    verdicts = verify_many(pairs, workers=2, timeout=5)
    assert [verdict for i, verdict in enumerate(verdicts) if i % 5 < 4] == [True, True, False, False] * 60


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(60)
    return results[0]


def test_the_same_verdicts_in_a_thread_a_loop_and_the_scorer():
    here = [verify(gold, answer) for gold, answer in ORDINARY]
    assert in_thread(lambda: [verify(gold, answer) for gold, answer in ORDINARY]) == here
    assert in_thread(lambda: verify_many(ORDINARY, workers=1, timeout=5)) == here

    async def gathered():
        return await asyncio.gather(*(asyncio.to_thread(verify, gold, answer) for gold, answer in ORDINARY))

    assert asyncio.run(gathered()) == here
    samples = [Sample("q", f"<answer>{answer}</answer>", answer=gold) for gold, answer in ORDINARY]
    with Scorer({"math": 1.0}, workers=1) as score:
        assert score([samples]).total_P_G == [[float(bool(verdict)) for verdict in here]]


def test_signals_and_timers_of_the_caller_are_left_alone():
    handlers = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM)]
    signal.setitimer(signal.ITIMER_REAL, 500)
    try:
        for gold, answer in [*ORDINARY, ("1/2", "\\int_0^1 x dx")]:
            verify(gold, answer)
        verify_many(ORDINARY, workers=1, timeout=5)
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert [signal.getsignal(n) for n in (signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM)] == handlers


def test_a_busy_machine_changes_no_verdict():
    """Four spinning processes for each core; the symbolic layer, which has a clock, is asked too."""
    pairs = [*ORDINARY, ("1/2", "\\int_0^1 x dx"), ("2", "\\sum_{i=0}^{\\infty} \\frac{1}{2^i}")]
    spin = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(4 * len(os.sched_getaffinity(0)))]
    try:
        assert verify_many(pairs, workers=1, timeout=3) == [True, True, False, False, True, True]
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def test_the_symbolic_process_is_replaced_and_its_question_is_undecided():
    assert verify("1/3", "\\int_0^1 x^2 dx") is True
    pool = symbolic._pool()
    before, replaced = pool._workers[0].process.pid, pool.replaced
    os.kill(before, signal.SIGKILL)
    assert verify("1/3", "\\int_0^1 x^2 dx") in (True, False)
    assert verify("1/3", "\\int_0^1 x^2 dx") is True
    assert pool.replaced == replaced + 1
    assert pool._workers[0].process.pid != before


def test_no_process_is_left_when_the_caller_ends():
    code = (
        "from rewards.math import symbolic, verify\nassert verify('1/3', '\\\\int_0^1 x^2 dx')\n"
        "print(symbolic._pool()._workers[0].process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_memory_stays_bounded():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in hostile(200):
        verify("7", text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_sympy_is_loaded_by_the_symbolic_process_only():
    code = (
        "import sys, rewards.math as m\nprint([n for n in ('torch', 'sympy', 'mpmath') if n in sys.modules])\n"
        "assert m.verify('\\\\frac12', '0.5') and m.verify('\\\\sqrt8', '2\\\\sqrt2')\n"
        "assert m.verify('1/2', '\\\\int_0^1 x dx')\nprint([n for n in ('torch', 'sympy') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["[]", "[]"]
