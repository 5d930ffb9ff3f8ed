"""What a set of judged samples says about a model: pass@1 as the mean of k, pass@k, cons@k, and how sure that is.

DeepSeek-R1's protocol (arXiv 2501.12948v2, D.1): k samples per problem at temperature 0.6 and top-p 0.95, pass@1 their
mean, because greedy decoding makes long reasoning loop and comparisons jump. Plain Python, no numpy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NOTICEABLE = 0.1  # a share of ungraded samples from which on the numbers say less than they seem to
Z95 = 1.959964  # two-sided 95% point of the normal distribution


@dataclass(frozen=True, slots=True)
class Judged:
    """One sample. `vote` is its extracted answer as text, None where there is none.

    `correct` None: grading failed, or the gold is not gradable; such a sample is left out and counted. `open`: there is
    no right or wrong to it (chat), so it is left out and not counted. `measures` hold what else it was scored on.
    """

    id: str
    family: str
    correct: bool | None
    n_tokens: int
    finished: bool
    vote: str | None = None
    votes: bool = True  # False: answers of this problem cannot be compared (code), so there is no cons@k
    open: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)


def evaluate(samples: Sequence[Judged]) -> dict[str, Any]:
    """All numbers of one model, overall and under "families" per family (families in order of appearance)."""
    families = {
        family: [s for s in samples if s.family == family] for family in dict.fromkeys(s.family for s in samples)
    }
    return {**summarise(samples), "families": {family: summarise(part) for family, part in families.items()}}


def summarise(samples: Sequence[Judged]) -> dict[str, Any]:
    """pass@1, ci95, stderr, pass@k, cons@k, n_problems, k, mean_tokens, finished, ungraded, measures of some samples.

    Every problem weighs the same, however many of its samples were graded. `stderr` is that of the mean over problems
    (None for one problem); `ci95` is `interval`; `k` is the most samples any problem has. Values without a basis: None.
    """
    problems: dict[str, list[Judged]] = {}
    for sample in samples:
        if sample.correct is not None:
            problems.setdefault(sample.id, []).append(sample)
    counts = [(len(group), sum(bool(s.correct) for s in group)) for group in problems.values()]
    means = [right / n for n, right in counts]
    stderr = standard_error(means)
    k = max((n for n, _ in counts), default=0)
    agreed = [consensus(group) for group in problems.values() if all(s.votes for s in group)]
    return {
        "pass@1": mean(means),
        "ci95": interval(means, total=sum(n for n, _ in counts)),
        "stderr": stderr,
        "pass@k": {str(size): _pass_over(counts, size) for size in sizes(k)},
        "cons@k": mean(agreed),
        "n_problems": len(problems),
        "k": k,
        "mean_tokens": mean([s.n_tokens for s in samples]),
        "finished": mean([float(s.finished) for s in samples]),
        "ungraded": sum(s.correct is None and not s.open for s in samples),
        "measures": measures(samples),
    }


def ungraded_line(judged: Mapping[str, Sequence[Judged]]) -> str | None:
    """One line where a noticeable share of some model's samples, or all, could not be graded; else None."""
    told = []
    for name, samples in judged.items():
        closed = [sample for sample in samples if not sample.open]
        failed = sum(sample.correct is None for sample in closed)
        if failed and failed >= NOTICEABLE * len(closed):
            told.append(f"{failed} of {len(closed)} samples of {name}")
    if not told:
        return None
    return (
        f"warning: could not be graded, and count nowhere: {', '.join(told)}; no reward of `correct` gives them a "
        "verdict: see their problems' `answer` and `tests`, and quarantine.jsonl for errors"
    )


def measures(samples: Sequence[Judged]) -> dict[str, Any]:
    """{name: {"mean", "ci95", "n_problems", "share"}} of everything some of the samples were measured by.

    Every problem weighs the same: its value is the mean of its samples that have one. `share`: all of them are in 0..1.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        for name, value in sample.measures.items():
            values.setdefault(name, {}).setdefault(sample.id, []).append(value)
    found = {}
    for name, by_problem in values.items():
        means = [math.fsum(group) / len(group) for group in by_problem.values()]
        total = sum(len(group) for group in by_problem.values())
        shares = all(0 <= value <= 1 for group in by_problem.values() for value in group)
        spread = interval(means, total=total) if shares else normal_interval(means)
        found[name] = {"mean": mean(means), "ci95": spread, "n_problems": len(means), "share": shares}
    return found


def wins(samples: Sequence[Judged], others: Sequence[Judged], reward: str, name: str) -> list[Judged]:
    """The samples with a further measure: 1 where one has more `reward` than its counterpart, 0.5 a tie, 0 less.

    `others` are another model's samples, in the same order. Where one of the two has no such score, there is none.
    """
    found = []
    for ours, theirs in zip(samples, others, strict=True):
        assert ours.id == theirs.id, "samples of two models are paired by problem"
        a, b = ours.measures.get(reward), theirs.measures.get(reward)
        if a is not None and b is not None:
            ours = replace(ours, measures={**ours.measures, name: 0.5 if a == b else float(a > b)})
        found.append(ours)
    return found


def normal_interval(means: Sequence[float]) -> list[float] | None:
    """95% interval of the mean of values that are no shares: mean +- 1.96 standard errors. None below two problems."""
    centre, stderr = mean(means), standard_error(means)
    return None if centre is None or stderr is None else [centre - Z95 * stderr, centre + Z95 * stderr]


def sizes(k: int) -> list[int]:
    """1, 2, 4, ... and k itself: the sizes for which pass@k is worth a number."""
    powers = [2**i for i in range(k.bit_length()) if 2**i <= k]
    return powers if k in powers or k == 0 else [*powers, k]


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples, drawn without replacement from n of which c are correct, is correct.

    1 - C(n-c, k) / C(n, k): the unbiased estimator of Chen et al. (arXiv 2107.03374, eq. 1).
    """
    assert 0 <= c <= n and 1 <= k <= n, f"pass@{k} of {c} in {n}"
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def _pass_over(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    return mean([pass_at_k(n, c, k) for n, c in counts if n >= k])


def consensus(samples: Sequence[Judged]) -> float:
    """Majority vote of one problem's samples: 1.0 if the most frequent answer is right, with a tie the right share.

    All correct samples are one answer (they all equal the gold); wrong ones are told apart by their text, so two
    spellings of one wrong answer count as two. A sample without an answer does not vote; nobody votes: 0.0.
    """
    votes: Counter[str | None] = Counter(
        None if s.correct else s.vote for s in samples if s.correct or s.vote is not None
    )
    if not votes:
        return 0.0
    most = max(votes.values())
    leaders = [answer for answer, count in votes.items() if count == most]
    return (None in leaders) / len(leaders)


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def standard_error(means: Sequence[float]) -> float | None:
    """Standard error of the mean over problems: sample standard deviation (n - 1) / sqrt(n). None below two."""
    n = len(means)
    if n < 2:
        return None
    centre = math.fsum(means) / n
    return math.sqrt(math.fsum((m - centre) ** 2 for m in means) / (n - 1) / n)


def interval(means: Sequence[float], *, total: int) -> list[float] | None:
    """95% interval [low, high] of the mean over problems: Wilson's, at the effective number of trials.

    Problems are the unit (samples of one problem are not independent): the effective number is p(1-p) / stderr^2, at
    most `total` samples, or the number of problems where the spread is 0. Unlike mean +- 1.96 stderr it stays within
    [0, 1] and keeps a width at 0% and 100%; in between, with many problems, the two agree. None without problems.
    """
    n = len(means)
    if n == 0:
        return None
    p, stderr = math.fsum(means) / n, standard_error(means)
    trials = min(p * (1 - p) / stderr**2, float(total)) if stderr else float(n)
    centre = (p + Z95**2 / (2 * trials)) / (1 + Z95**2 / trials)
    half = Z95 / (1 + Z95**2 / trials) * math.sqrt(p * (1 - p) / trials + Z95**2 / (4 * trials**2))
    return [max(0.0, centre - half), min(1.0, centre + half)]
