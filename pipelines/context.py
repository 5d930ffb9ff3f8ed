"""What a running stage holds in its hands: where to write, its seed, its log and its progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipelines import journal
from pipelines.events import Listener, silent
from pipelines.source import expanded

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

METRICS = "metrics.jsonl"
PLAIN_EVERY = 30.0  # seconds between progress lines where there is no terminal


@dataclass
class Pace:
    """How fast one task of work went, as its progress bar saw it: what `r1 plan` predicts the next run from.

    first: units of the first advance, which took `first_s` seconds from the bar's making: starting up is in there.
    rest: units of all later ones, in `rest_s` seconds.
    """

    what: str
    first: int = 0
    first_s: float = 0.0
    rest: int = 0
    rest_s: float = 0.0

    def note(self, units: int, seconds: float) -> None:
        """`units` more are done, `seconds` after the bar was made."""
        if not self.first:
            self.first, self.first_s = units, round(seconds, 3)
        else:
            self.rest, self.rest_s = self.rest + units, round(seconds - self.first_s, 3)


@dataclass
class Context:
    """Given to every stage body.

    out: private temporary folder that becomes the artifact once the body has returned.
    seed: derived from the pipeline's seed and the stage's name, 0 <= seed < 2**31.
    scratch: folder that survives a kill and is found again under the same key: checkpoints go here. Removed on success.
    rewards: reward plugin files, as written in the pipeline file -> absolute path. Empty unless the stage's config has
        a field `rewards`.
    base: folder of the pipeline file; relative paths in a config start there, see `resolve`.
    run: folder of the run (run.json, a link for each stage made so far); only a report has reason to look.
    """

    out: Path
    seed: int
    scratch: Path
    rewards: Mapping[str, Path] = field(default_factory=dict)
    base: Path = field(default_factory=Path)
    run: Path | None = None
    console: Console | None = None
    listen: Listener = silent
    numbers: dict[str, Any] = field(default_factory=dict)
    _paces: list[Pace] = field(default_factory=list)
    _bars: Bars | None = None

    def resolve(self, path: str) -> Path:
        """A path as a config names it, seen from the pipeline file's folder (`~` is the home folder)."""
        return self.base / expanded(path)

    def log(self, step: int, **numbers: Any) -> None:
        """Append one line of metrics to `metrics.jsonl`: the step, the numbers and the time (s since the epoch)."""
        line = json.dumps({"step": step, **numbers, "time": round(time.time(), 3)}, default=_plain)
        content = json.loads(line)  # plain numbers
        # The copy in scratch is what a killed run leaves behind for `resumed`.
        if not (self.out / METRICS).exists():
            (self.scratch / METRICS).unlink(missing_ok=True)
        journal.append(self.scratch / METRICS, content)
        with (self.out / METRICS).open("a") as file:
            file.write(line + "\n")
        self.listen({"event": "step", **content})

    def resumed(self, step: int) -> list[dict[str, Any]]:
        """Call once when going on from a checkpoint taken after `step`: brings back the metrics logged up to it, and
        returns them."""
        self.listen({"event": "resumed", "step": step})
        lines = journal.read(self.scratch / METRICS)
        kept = [line for line in lines if line is not None and line["step"] <= step]
        if None in lines:
            self.say(f"{self.scratch / METRICS}: a damaged line is left out of the curves")
        (self.out / METRICS).write_text("".join(json.dumps(line) + "\n" for line in kept))
        journal.rewrite(self.scratch / METRICS, kept)
        return kept

    def summary(self, **numbers: Any) -> None:
        """Put numbers (JSON values) into the manifest, where `r1 show` and the report find them."""
        self.numbers.update(json.loads(json.dumps(numbers, default=_plain)))

    def progress(self, description: str, total: int | None = None) -> Progress:
        """A progress bar on a terminal, a line each 30 s elsewhere. May be used as a context manager."""
        return Progress(self, description, total)

    def say(self, message: str) -> None:
        """One line for the reader of the terminal."""
        self.listen({"event": "message", "text": message.strip()})
        if self.console is not None:
            self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def bars(self) -> Bars | None:
        """The live display that all bars of this stage share, or None where there is no terminal."""
        if self._bars is None and self.console is not None and self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = ("  [progress.description]{task.description}", BarColumn(24), MofNCompleteColumn())
            notes = TextColumn("{task.fields[notes]}", style="dim")
            self._bars = Bars(*columns, TimeRemainingColumn(), notes, console=self.console, transient=True)
            self._bars.start()
        return self._bars

    def speeds(self) -> list[dict[str, Any]]:
        """How fast each task of work went, for the manifest."""
        return [asdict(pace) for pace in self._paces if pace.first]

    def close(self) -> None:
        """Take the live display down. The runner calls it; calling it twice is fine."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class Progress:
    """One task of work: `advance(n, **fields)` moves it and shows the fields beside it (`reward=0.53`)."""

    def __init__(self, ctx: Context, description: str, total: int | None) -> None:
        self._ctx, self._description, self._total = ctx, description, total
        self._done, self._said = 0, time.monotonic()
        self._began, self._pace = self._said, Pace(description)
        ctx._paces.append(self._pace)
        self._bars = ctx.bars()
        if self._bars is not None:
            self._task = self._bars.add_task(description, total=total, notes="")

    def advance(self, n: int = 1, **fields: Any) -> None:
        self._done += n
        if n:
            self._pace.note(n, time.monotonic() - self._began)
        notes = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
        if self._bars is not None:
            self._bars.update(self._task, advance=n, notes=notes)
        elif time.monotonic() - self._said >= PLAIN_EVERY:
            self._said = time.monotonic()
            of = f"/{self._total}" if self._total else ""
            self._ctx.say(f"  {self._description} {self._done}{of} {notes}".rstrip())

    def close(self) -> None:
        if self._bars is not None:
            self._bars.update(self._task, visible=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(value: Any) -> Any:
    """numpy and torch scalars (anything with `.item()`) as Python numbers, paths as text."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is no number, text, list or mapping")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
