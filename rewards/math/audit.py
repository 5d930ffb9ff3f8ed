"""What `r1 rewards audit math` needs: a case holds `gold` and `completion`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.math.verify import verify

NEEDS = (("gold",), ("completion",))


def judge(case: Mapping[str, Any]) -> bool | None:
    """The verdict of `verify` on one case."""
    return verify(str(case["gold"]), str(case["completion"]))


def shown(case: Mapping[str, Any]) -> str:
    """Gold and the end of the completion."""
    return f"gold {str(case.get('gold'))[:100]!r}, completion {str(case.get('completion'))[-120:]!r}"


def kind(case: Mapping[str, Any]) -> str:
    """The case's own `kind`."""
    return str(case.get("kind") or "all")
