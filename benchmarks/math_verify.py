"""Accuracy and throughput of `rewards.math.verify` against math-verify, on one core, in one run.

    python benchmarks/math_verify.py --cases ../shared/data/math_dev.jsonl
    python benchmarks/math_verify.py                 # generated cases only

Cases are JSON Lines as for `r1 rewards audit math`; contested ones and the denial-of-service group are left out of the
accuracy. Needs `pip install math-verify[antlr4_13_2]` (in the extra `dev`). Both sides grade the same completions, a
chunk each in turn, so that a busy machine slows both; throughput is by CPU time. The long completions are the same
answers behind 20,000 characters of thinking.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this file bears the name of the package it compares with

Case = dict[str, Any]
Grader = Callable[[Case], bool]

CHUNK = 40


def generated(number: int = 600) -> list[Case]:
    """Answers as MATH has them: numbers, radicals, tuples, intervals, polynomials; half of them wrong."""
    draw = random.Random(0)
    cases = []
    for i in range(number):
        a, b, c = (draw.randint(2, 60) for _ in range(3))
        kinds = [
            ("integer", f"{a * b}", f"{a * b}", f"{a * b + 1}"),
            ("fraction", f"\\frac{{{a}}}{{{a + b}}}", f"\\dfrac{{{a * c}}}{{{(a + b) * c}}}", f"{a + b}/{a}"),
            ("decimal", f"{a}.5", f"\\frac{{{2 * a + 1}}}{{2}}", f"{a}.05"),
            ("radical", f"{a}\\sqrt{{2}}", f"\\sqrt{{{2 * a * a}}}", f"{a + 1}\\sqrt{{2}}"),
            ("tuple", f"({a}, -{b})", f"\\left( {a}, -{b} \\right)", f"(-{b}, {a})"),
            ("interval", f"[{a}, {a + b})", f"\\left[{a}, {a + b}\\right)", f"({a}, {a + b})"),
            ("polynomial", f"x^2 - {a * a}", f"(x - {a})(x + {a})", f"(x - {a})^2"),
        ]
        kind, gold, right, wrong = kinds[i % len(kinds)]
        answer = right if (i // len(kinds)) % 2 else wrong
        cases.append(
            {"gold": gold, "completion": f"So it is $\\boxed{{{answer}}}$.", "expected": answer == right, "kind": kind}
        )
    return cases


def ours(case: Case) -> bool:
    from rewards.math import verify

    return verify(case["gold"], case["completion"]) is True


def math_verify(*, strict: bool) -> Grader:
    from latex2sympy2_extended import NormalizationConfig  # noqa: F401 - its own pieces, loaded before the clock runs
    from math_verify import parse
    from math_verify import verify as theirs

    def grade(case: Case) -> bool:
        gold = case["gold"] if "$" in case["gold"] or "boxed" in case["gold"] else f"${case['gold']}$"
        try:
            return bool(theirs(parse(gold), parse(case["completion"]), strict=strict))
        except Exception:
            return False

    return grade


def timed(grader: Grader, cases: list[Case]) -> list[tuple[bool, float]]:
    results = []
    for case in cases:
        started = time.process_time()
        verdict = grader(case)
        results.append((verdict, time.process_time() - started))
    return results


def in_turn(graders: dict[str, Grader], cases: list[Case]) -> dict[str, list[tuple[bool, float]]]:
    """Every grader on every case, chunk by chunk in turn."""
    results: dict[str, list[tuple[bool, float]]] = {name: [] for name in graders}
    for start in range(0, len(cases), CHUNK):
        for name, grader in graders.items():
            results[name] += timed(grader, cases[start : start + CHUNK])
    return results


def report(title: str, cases: list[Case], results: dict[str, list[tuple[bool, float]]]) -> None:
    positives = sum(case["expected"] for case in cases)
    print(f"\n{title}: {len(cases)} cases, {positives} of them right answers")
    print(f"{'':24}{'accuracy':>9}{'FN':>5}{'FP':>5}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    rates = {}
    for name, graded in results.items():
        pairs = list(zip(cases, graded, strict=True))
        wrong_no = sum(case["expected"] and not verdict for case, (verdict, _) in pairs)
        wrong_yes = sum(not case["expected"] and verdict for case, (verdict, _) in pairs)
        times = sorted(1000 * seconds for _, seconds in graded)
        rates[name] = 1000 * len(times) / sum(times)
        print(
            f"{name:24}{1 - (wrong_no + wrong_yes) / len(cases):9.2%}{wrong_no:5}{wrong_yes:5}{rates[name]:9.0f}"
            f"{times[len(times) // 2]:9.3f}{times[len(times) * 99 // 100]:9.2f}{times[-1]:9.1f}"
        )
    first, *others = rates
    print(", ".join(f"{rates[first] / rates[name]:.0f}x {name}" for name in others))


def batch_with_hostile(cases: list[Case]) -> None:
    """What 10% hostile answers in a batch on two workers cost the rest."""
    from rewards.math import verify_many
    from tests.rewards.hostile_math import hostile

    pairs = [(case["gold"], case["completion"]) for case in cases] * 20
    texts = hostile(len(pairs) // 9)
    mixed = [*pairs]
    for i, text in enumerate(texts):
        mixed.insert(i * 10, ("7", text))
    alone = []
    for batch in (pairs, mixed, [("7", text) for text in texts]):
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            verify_many(batch, workers=2, timeout=1.0)
            seconds.append(time.perf_counter() - started)
        alone.append(sorted(seconds)[2])
    start_up = _start_up(verify_many)
    clean, both, bad = (seconds - start_up for seconds in alone)
    print(f"\nverify_many on 2 workers (start-up of {start_up:.2f} s taken off):")
    print(f"  {len(pairs)} ordinary pairs {clean:.2f} s, {len(texts)} hostile ones {bad:.2f} s, together {both:.2f} s")
    print(f"  the ordinary pairs keep {clean / (both - bad):.1%} of their throughput")


def _start_up(verify_many: Any) -> float:
    started = time.perf_counter()
    verify_many([("1", "1")] * 2, workers=2, timeout=1.0)
    return time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cases", type=Path, help="labelled cases (JSON Lines) besides the generated ones")
    chosen = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    graders = {
        "r1": ours, "math-verify": math_verify(strict=True), "math-verify strict=False": math_verify(strict=False)
    }  # fmt: skip
    sets = {"generated": generated()}
    if chosen.cases is not None:
        rows = [json.loads(line) for line in chosen.cases.read_text().splitlines()]
        clear = [row for row in rows if not row.get("contested") and "dos" not in str(row.get("group"))]
        sets[chosen.cases.name] = clear
        sets[f"{chosen.cases.name}, MATH golds"] = [row for row in clear if row.get("group") == "math_gold"]
    for grader in graders.values():
        timed(grader, generated(14))  # imports and caches
    for title, cases in sets.items():
        if cases:
            report(title, cases, in_turn(graders, cases))
    thinking = "We try \\boxed{1} and $x = 2$ first; no. " * 500
    longs = [case | {"completion": f"<think>{thinking}</think>\n{case['completion']}"} for case in generated(140)]
    report("long completions, 20,000 characters", longs, in_turn(graders, longs))
    os.sched_setaffinity(0, cores)
    batch_with_hostile(generated())


if __name__ == "__main__":
    main()
