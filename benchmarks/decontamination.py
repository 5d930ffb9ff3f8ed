"""Decontamination at size: time, memory, what is found and what is found wrongly, beside plain Python sets of n-grams.

    python benchmarks/decontamination.py                      # 1,000,000 rows against 10,000
    python benchmarks/decontamination.py --rows 100000

The plain way (a Python set of 10-grams of the evaluation set, each training text looked up word by word, as most
published scripts do it) runs on a tenth of the rows in the same process; it has no near repeats and no normalising.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipelines.overlap import Overlap, repeats  # noqa: E402 - from this checkout
from tests.pipelines.test_overlap import disguised, problem  # noqa: E402

PLANTED = 500  # of each kind


def rows(number: int, held: list[str]) -> Iterator[str]:
    """Training texts: the first PLANTED repeat the evaluation set, the next are in disguise, the rest are others."""
    draw = random.Random(7)
    for i in range(number):
        text = problem(draw)
        yield held[i] if i < PLANTED else disguised(held[i], draw) if i < 2 * PLANTED else text


def plain(texts: Iterator[str], held: list[str], size: int = 10) -> int:
    grams = set()
    for text in held:
        words = text.lower().split()
        grams |= {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
    found = 0
    for text in texts:
        words = text.lower().split()
        found += any(tuple(words[i : i + size]) in grams for i in range(len(words) - size + 1))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--held", type=int, default=10_000)
    chosen = arguments.parse_args()
    draw = random.Random(6)
    held = [problem(draw) for _ in range(chosen.held)]
    started = time.perf_counter()
    spent = sum(1 for _ in rows(chosen.rows, held)) and time.perf_counter() - started  # making them is not our cost
    print(f"{chosen.rows:,} rows against {chosen.held:,}")
    print(f"{'':34}{'s':>8}{'exact found':>13}{'disguised found':>17}{'false alarms':>14}")
    for name, ngram, near in (("10-grams and near repeats", 10, 0.8), ("near repeats only", 0, 0.8)):
        started = time.perf_counter()
        exact = disguise = alarms = 0
        for i, hit in enumerate(Overlap(held, ngram=ngram, near=near).hits(rows(chosen.rows, held))):
            good = hit is not None and hit.other == i
            exact += good and i < PLANTED
            disguise += good and PLANTED <= i < 2 * PLANTED
            alarms += hit is not None and i >= 2 * PLANTED
        seconds = time.perf_counter() - started - spent
        rate = alarms / max(1, chosen.rows - 2 * PLANTED)
        print(f"{name:34}{seconds:8.1f}{exact:9} of {PLANTED}{disguise:13} of {PLANTED}{alarms:7} ({rate:.4%})")
    started = time.perf_counter()
    doubles = repeats(rows(chosen.rows, held))
    print(f"{'repeats within the rows':34}{time.perf_counter() - started - spent:8.1f}{len(doubles):9} repeats")
    started = time.perf_counter()
    found = plain(rows(chosen.rows // 10, held), held)
    seconds = 10 * (time.perf_counter() - started - spent / 10)
    print(f"{'plain sets of 10-grams, x10':34}{seconds:8.1f}{found:9} hits in the first tenth")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
