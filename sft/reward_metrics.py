"""How good a reward model is on preferences it was not trained on. Plain Python, no torch.

A reward model is used by its scores' order and, summed with other rewards, by their size; so besides accuracy these
numbers say whether its probabilities can be believed (calibration) and whether it merely counts words (length bias).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, pstdev
from typing import Any

BINS = 10  # of equal width, for the calibration error (Guo et al., arXiv 1706.04599, use 15 on larger sets)
Z95 = 1.959964


def pair_numbers(scores: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """Numbers of pairs: `scores` and `lengths` (tokens of the judged texts) are chosen, rejected, chosen, rejected...

    accuracy: share of pairs with chosen above rejected (a tie counts half), ci95 its Wilson interval. margin: mean
    difference. brier, calibration_error: of sigmoid(difference), the Bradley-Terry probability that chosen is better.
    longer_chosen: share of the pairs of unequal length whose longer text was chosen; accuracy_shorter_better: accuracy
    where it was not. None where no pair is of that kind.
    """
    pairs = list(zip(scores[::2], scores[1::2], lengths[::2], lengths[1::2], strict=True))
    gaps = [chosen - rejected for chosen, rejected, _, _ in pairs]
    right = [_win(gap) for gap in gaps]
    unequal = [(win, long - short) for win, (_, _, long, short) in zip(right, pairs, strict=True) if long != short]
    chances = [sigmoid(gap) for gap in gaps]
    # Every pair is seen from both sides: `chosen` always comes first, and a model that says 1 of all would look right.
    both = [*zip(chances, [1.0] * len(pairs), strict=True), *((1 - chance, 0.0) for chance in chances)]
    return {
        "rows": len(pairs),
        "accuracy": fmean(right),
        "ci95": wilson(fmean(right), len(right)),
        "margin": fmean(gaps),
        "brier": fmean((1 - chance) ** 2 for chance in chances),
        "calibration_error": calibration_error(both),
        "length_chosen": fmean(lengths[::2]),
        "length_rejected": fmean(lengths[1::2]),
        "longer_chosen": fmean(more > 0 for _, more in unequal) if unequal else None,
        "accuracy_shorter_better": _mean([win for win, more in unequal if more < 0]),
        **_spread(scores),
    }


def label_numbers(scores: Sequence[float], labels: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """Numbers of labelled texts; a label of 0.5 and more counts as good.

    accuracy: at threshold 0, ci95 its Wilson interval. auc: chance that a good text scores above a bad one. margin:
    mean score of good texts minus that of bad ones. brier, calibration_error: of sigmoid(score). None where there are
    no good, or no bad, texts.
    """
    good = [label >= 0.5 for label in labels]
    right = [float((score > 0) == is_good) for score, is_good in zip(scores, good, strict=True)]
    high = [score for score, is_good in zip(scores, good, strict=True) if is_good]
    low = [score for score, is_good in zip(scores, good, strict=True) if not is_good]
    chances = [sigmoid(score) for score in scores]
    return {
        "rows": len(scores),
        "accuracy": fmean(right),
        "ci95": wilson(fmean(right), len(right)),
        "auc": auc(high, low),
        "margin": fmean(high) - fmean(low) if high and low else None,
        "brier": fmean((chance - label) ** 2 for chance, label in zip(chances, labels, strict=True)),
        "calibration_error": calibration_error(list(zip(chances, labels, strict=True))),
        "share_good": fmean(good),
        "length_good": _mean([n for n, is_good in zip(lengths, good, strict=True) if is_good]),
        "length_bad": _mean([n for n, is_good in zip(lengths, good, strict=True) if not is_good]),
        **_spread(scores),
    }


def calibration_error(judged: Sequence[tuple[float, float]]) -> float:
    """Expected calibration error of (probability, truth): |mean probability - mean truth| of each bin, weighted by its
    share."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for chance, truth in judged:
        bins.setdefault(min(int(chance * BINS), BINS - 1), []).append((chance, truth))
    gaps = [abs(fmean(c for c, _ in part) - fmean(t for _, t in part)) * len(part) for part in bins.values()]
    return math.fsum(gaps) / len(judged)


def auc(high: Sequence[float], low: Sequence[float]) -> float | None:
    """Chance that one of `high` is above one of `low`, ties half: the rank-sum statistic. None where one is empty."""
    if not high or not low:
        return None
    ranked = sorted([(score, True) for score in high] + [(score, False) for score in low])
    wins, below = 0.0, 0
    for _, tied in groupby(ranked, key=lambda pair: pair[0]):
        same = [is_high for _, is_high in tied]
        wins += sum(same) * (below + (len(same) - sum(same)) / 2)
        below += len(same) - sum(same)
    return wins / (len(high) * len(low))


def wilson(p: float, n: int) -> list[float]:
    """Wilson's 95% interval of a share."""
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _win(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _spread(scores: Sequence[float]) -> dict[str, float]:
    """What a weight for the reward, and a floor under it, are chosen by."""
    return {"score_mean": fmean(scores), "score_sd": pstdev(scores), "score_lowest": min(scores)}


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
