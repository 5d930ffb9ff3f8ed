"""What `r1 rewards audit judge` needs: a case holds `completion`, `answer` and, mostly, `prompt`.

The judge itself is named by `--set url=... --set model=...`. In mode `pair` the case's `answer` is the opponent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.registry import get
from rollout.types import Sample

NEEDS = (("completion",),)


def judge(case: Mapping[str, Any]) -> bool | None:
    """Whether the judge gives at least half of the points.

    Raises:
        JudgeError: the judge gave no verdict.
    """
    settings = {"against": "reference", **case["settings"]}
    sample = Sample(str(case.get("prompt", "")), str(case["completion"]), case.get("answer"), row=case.get("row") or {})
    (score,) = get("judge").function([sample], **settings)
    if isinstance(score, Exception):
        raise score
    return None if score is None else bool(score >= 0.5)


def shown(case: Mapping[str, Any]) -> str:
    """The reference answer and the end of the completion."""
    return f"answer {str(case.get('answer'))[:100]!r}, completion {str(case.get('completion'))[-120:]!r}"


def kind(case: Mapping[str, Any]) -> str:
    """The case's own `kind`."""
    return str(case.get("kind") or "all")
