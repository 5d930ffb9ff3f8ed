"""The scorer: three outcomes, hard limits, replaced workers, no orphans."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rewards.registry import RewardError
from rewards.scorer import ErrorBudgetExceeded, Scorer
from rollout.types import Sample

PLUGIN = '''
import math, os, time
from rewards import Sample, reward

@reward
def trouble(s: Sample, *, bonus: float = 0.0) -> float | None:
    """Does what the completion says."""
    if s.completion == "sleep":
        time.sleep(1000)
    if s.completion == "spin":
        while True:
            pass
    if s.completion == "spin in C":
        return float(len(str(7 ** 10**8)))
    if s.completion == "exit":
        os._exit(3)
    if s.completion == "sys.exit":
        raise SystemExit(0)
    if s.completion == "raise":
        raise RuntimeError("as asked")
    if s.completion == "text":
        return "1.0"
    print("noise on stdout")
    values = {"none": None, "nan": math.nan, "inf": math.inf, "true": True, "int": 3}
    return values[s.completion] if s.completion in values else 0.5 + bonus

@reward(group=True)
def shortest(samples: list[Sample]) -> list[float]:
    """1 for the shortest completion of the group."""
    best = min(len(s.completion) for s in samples)
    return [float(len(s.completion) == best) for s in samples]
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "trouble.py"
    path.write_text(PLUGIN)
    return path


def samples(*completions: str) -> list[Sample]:
    return [Sample("q", completion, answer="12", row={"id": "1"}) for completion in completions]


def scorer(plugin, weights, **options):
    return Scorer(weights, [plugin], workers=1, **{"timeout_s": 0.5, "wall_s": 1.0, "error_budget": 1.0} | options)


def test_weights_parts_and_totals():
    right, wrong = "<think>6 + 6</think><answer>12</answer>", "<answer>13</answer>"
    with Scorer({"math": 1.0, "format": {"weight": 0.5}, "language": 0.1}, workers=1) as score:
        scored = score([samples(right, wrong), samples(wrong)])
    assert scored.parts_P_G["math"] == [[1.0, 0.0], [0.0]]
    assert scored.parts_P_G["language"] == [[None, None], [None]]
    assert scored.total_P_G == [[1.5, 0.0], [0.0]]
    assert scored.errors == 0


def test_three_outcomes(plugin, tmp_path):
    quarantine = tmp_path / "q" / "quarantine.jsonl"
    told = ["fine", "none", "raise", "nan", "inf", "text", "true", "int", "exit", "sys.exit", "sleep", "spin", "fine"]
    with scorer(plugin, {"trouble": {"weight": 2.0, "bonus": 0.25}}, quarantine=quarantine) as score:
        scored = score([samples(*told)])
        assert scored.total_P_G == [[1.5, None, None, None, None, None, 2.0, 6.0, None, None, None, None, 1.5]]
        assert scored.errors == 8
        assert score([samples("fine")]).total_P_G == [[1.5]]
    lines = [json.loads(line) for line in quarantine.read_text().splitlines()]
    kinds = {line["sample"]["completion"]: line["kind"] for line in lines}
    assert kinds == {"raise": "raised", "nan": "raised", "inf": "raised", "text": "raised", "exit": "died",
                     "sys.exit": "died", "sleep": "timeout", "spin": "timeout"}  # fmt: skip
    assert all(line["reward"] == "trouble" and line["what"] for line in lines)


def test_a_c_loop_is_killed_by_cpu_time(plugin):
    with scorer(plugin, {"trouble": 1.0}, wall_s=60.0) as score:
        started = time.monotonic()
        assert score([samples("spin in C", "fine")]).total_P_G == [[None, 0.5]]
        assert time.monotonic() - started < 20


def test_error_keeps_the_other_parts_but_not_the_total(plugin):
    with scorer(plugin, {"trouble": 1.0, "format": 1.0, "shortest": 1.0}) as score:
        scored = score([samples("raise", "fine")])
    assert scored.parts_P_G["format"] == [[0.0, 0.0]]
    assert scored.parts_P_G["shortest"] == [[0.0, 1.0]]
    assert scored.total_P_G == [[None, 1.5]]


def test_budget_stops_the_run_and_the_scorer_survives(plugin):
    stopped = pytest.raises(ErrorBudgetExceeded, match=r"trouble.*as asked")
    with scorer(plugin, {"trouble": 1.0}, error_budget=0.0) as score, stopped:
        score([samples("raise", "sleep", "fine")])
    with scorer(plugin, {"trouble": 1.0}, error_budget=0.01) as score:
        assert score([samples(*["raise"] * 8)]).errors == 8
        with pytest.raises(ErrorBudgetExceeded, match="9 of 9"):
            score([samples("raise")])


def test_mistakes_are_found_before_any_work(plugin, tmp_path):
    with pytest.raises(RewardError, match="did you mean 'format'"):
        Scorer({"formt": 1.0})
    with pytest.raises(RewardError, match=r"no setting 'bonsu'.*did you mean 'bonus'"):
        Scorer({"trouble": {"weight": 1, "bonsu": 2.0}}, [plugin])
    with pytest.raises(RewardError, match="must be float, not 'much'"):
        Scorer({"trouble": {"bonus": "much"}}, [plugin])
    with pytest.raises(RewardError, match="does not exist"):
        Scorer({"math": 1.0}, [tmp_path / "missing.py"])
    with pytest.raises(RewardError, match="no rewards given"):
        Scorer({})


def test_fast_and_from_any_thread():
    right = "<think>6 + 6</think><answer>12</answer>"
    groups = [samples(*[right] * 16) for _ in range(16)]
    with Scorer({"math": 1.0, "format": 0.1}, workers=1) as score:
        score(groups)
        started = time.process_time()
        for _ in range(5):
            score(groups)
        assert (time.process_time() - started) / 5 < 0.05  # this process's share of grading 256 samples
        results: list[float | None] = []
        thread = threading.Thread(target=lambda: results.append(score([samples(right)]).total_P_G[0][0]))
        thread.start()
        thread.join(20)
    assert results == [1.1]


def test_no_orphans_when_the_owner_is_killed(plugin):
    code = (
        "import os, sys\nfrom rewards.scorer import Scorer\nfrom rollout.types import Sample\n"
        f"score = Scorer({{'trouble': 1.0}}, [{str(plugin)!r}], workers=1, timeout_s=100)\n"
        "score([[Sample('q', 'fine')]])\nprint(score._pool._workers[0].process.pid, flush=True)\n"
        "score([[Sample('q', 'sleep')]])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        worker = int(owner.stdout.readline())
        time.sleep(0.2)
        owner.kill()
    for _ in range(100):
        state = Path(f"/proc/{worker}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlived its owner")
