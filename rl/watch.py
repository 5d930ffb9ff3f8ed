"""A watch for reward hacking: what a reward model says of held-out answers, beside rules that nothing is trained on.

DeepSeek-R1 saw it in its last stage: the reward of the helpful model kept rising while Codeforces fell (arXiv
2501.12948v2, B.5, figure 6). Here the same is looked for at each evaluation on the `dev` problems (`rl.heldout`): the
alarm goes off when the learned judgement is higher than before the first step and a check is lower, each by more than
three standard errors of the paired difference over problems. Three, because there are many evaluations and several
checks, and an alarm should mean something.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rl.batch import Group, verdict

ERRORS = 3.0
FILE = "watch.json"  # in scratch: a resumed run compares with the same first reading

Reading = dict[str, dict[str, float]]  # name -> problem -> mean over its samples


def read(
    groups: Sequence[Group],
    checks: Mapping[str, Sequence[Sequence[float | None]]],
    learned: Sequence[str],
    correct: Sequence[str],
) -> Reading:
    """Each problem's means: the `learned` parts, `accuracy` (the `correct` parts), and the `checks` (P x G)."""
    found: Reading = {}

    def add(name: str, group: Group, values: Sequence[float | None]) -> None:
        if known := [value for value in values if value is not None]:
            found.setdefault(name, {})[str(group.row)] = fmean(known)

    for p, group in enumerate(groups):
        for name in learned:
            add(name, group, group.parts.get(name, ()))
        verdicts = [verdict(group.parts, i, correct) for i in range(len(group.samples))]
        add("accuracy", group, [None if right is None else float(right) for right in verdicts])
        for name, values_P_G in checks.items():
            add(name, group, values_P_G[p])
    return found


def shift(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The mean paired difference over the problems that both have, in its standard errors; 0 without a basis.

    mean(d) / (stdev(d) / sqrt(n)); differences that are all equal and not 0 give infinity.
    """
    moves = [now[problem] - before[problem] for problem in now if problem in before]
    if len(moves) < 2:
        return 0.0
    centre, spread = fmean(moves), stdev(moves) / math.sqrt(len(moves))
    return centre / spread if spread > 1e-12 else math.copysign(math.inf, centre) if abs(centre) > 1e-12 else 0.0


def parted(before: Reading, now: Reading, learned: Sequence[str]) -> str | None:
    """One line where a learned judgement rose and a check fell; None where they go together."""
    shifts = {name: shift(before[name], now[name]) for name in now if name in before}
    risen = [name for name in learned if shifts.get(name, 0.0) > ERRORS]
    fallen = [name for name, moved in shifts.items() if name not in learned and moved < -ERRORS]
    if not risen or not fallen:
        return None

    def told(name: str) -> str:
        return f"{name} {fmean(before[name].values()):.3f} -> {fmean(now[name].values()):.3f}"

    return f"reward hacking? {', '.join(map(told, risen))}, but {', '.join(map(told, fallen))} on held-out problems"


class Watch:
    """Compares every reading with the first one. Both that and the step of an alarm are kept in `scratch`."""

    def __init__(self, scratch: str | Path, learned: Sequence[str], *, resumed: bool) -> None:
        self._file, self._learned = Path(scratch) / FILE, learned
        self._first: Reading | None = None
        self.alarm: int | None = None
        if resumed and self._file.exists():
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            self._first, self.alarm = kept["first"], kept["alarm"]

    def look(self, now: Reading, step: int) -> str | None:
        """The alarm's line, or None. The first reading is compared with nothing."""
        line = parted(self._first, now, self._learned) if self._first is not None else None
        if self._first is None or line is not None:
            self._first = self._first or now
            self.alarm = step if line is not None else None
            temp = self._file.with_suffix(".tmp")
            temp.parent.mkdir(parents=True, exist_ok=True)
            temp.write_text(json.dumps({"first": self._first, "alarm": self.alarm}), encoding="utf-8")
            os.replace(temp, self._file)
        return line
