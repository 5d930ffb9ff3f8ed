"""`r1 doctor --model`: trainer and rollout engine compared on models, each in a killable process, as a table.

The comparison itself is `rollout.fidelity`; here are its processes, its time limit and its page (docs/fidelity.md).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.zoo import ARCHITECTURES
from pipelines import provenance
from pipelines.artifacts import Model
from pipelines.edges import locate
from pipelines.source import ConfigError, did_you_mean
from rollout.fidelity import RANDOM, ROUNDS, Round, read_rounds, verdict

DTYPES = ("float32", "bfloat16")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
# The last line of a traceback, or the line below it where pydantic puts what matters.
_ERROR = re.compile(
    r"(?:\[rank\d+\]: )?((?:(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b|Value error,).*?)(?: \[type=|$)"
)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one model in one precision; `failure` is the error that ended it early, empty if none did."""

    model: str
    dtype: str
    rounds: list[Round]
    failure: str = ""

    @property
    def judged(self) -> tuple[bool, str]:
        """Fine or not, and the verdict in words."""
        fine, words = verdict(self.dtype, self.rounds)
        if not self.failure:
            return fine, words
        where = f"stopped after {len(self.rounds) - 1} syncs" if self.rounds else "does not run"
        return False, f"{where}: {self.failure}"


def report(models: Sequence[str], page: Path | None, limit: float) -> bool:
    """Compare on each model, print the table row by row, put it into `page` if any; whether all agree."""
    if not models:
        raise ConfigError(["--write needs --model: `r1 doctor --model random:all --write FILE`"])
    if not limit > 0:
        raise ConfigError([f"--limit {limit:g}: must be above 0 seconds"])
    wanted, measured = targets(models), []
    if page is not None:
        check_page(page)
    print(markdown(HEAD))
    for row in rows(wanted, limit):
        print(markdown(cells(row)), flush=True)
        measured.append(row)
    if page is not None:
        write_page(page, measured)
    return all(row.judged[0] for row in measured)


def targets(models: Sequence[str]) -> list[str]:
    """The models that the `--model` options mean; ConfigError with one line for each that is none."""
    found: list[str] = []
    mistakes = []
    for model in models:
        name = model.removeprefix(RANDOM)
        if model == f"{RANDOM}all":
            found += [RANDOM + name for name in ARCHITECTURES]
        elif model.startswith(RANDOM) and name not in ARCHITECTURES:
            mistakes.append(f"--model {model}: no such architecture ({did_you_mean(name, ['all', *ARCHITECTURES])})")
        elif model.startswith(RANDOM):
            found.append(model)
        elif (folder := locate(Path(model).resolve(), Model)) is None:
            mistakes.append(f"--model {model}: no model folder (a config.json in it); for a random one: {RANDOM}NAME")
        else:
            found.append(model if (Path(model) / "config.json").is_file() else str(folder))
    if mistakes:
        raise ConfigError(mistakes)
    return list(dict.fromkeys(found))


def rows(models: Sequence[str], limit: float) -> Iterator[Row]:
    """Each model in each precision, as they are measured; `limit` is seconds for one of them."""
    for model in models:
        for dtype in DTYPES:
            yield check(model, dtype, limit)


def check(model: str, dtype: str, limit: float) -> Row:
    """Compare in a process of its own; whatever happens to it is a row."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "rounds.jsonl", Path(folder) / "stderr"
        # -P: a folder `models` where the user stands must not hide ours
        command = [sys.executable, "-P", "-m", "rollout.fidelity", model, dtype, str(file)]
        with log.open("wb") as err:
            code = _run(command, err.fileno(), limit)
        failure = "" if code == 0 else _failure(code, limit, log.read_text(errors="replace"))
        return Row(model.removeprefix(RANDOM), dtype, read_rounds(file), failure)


def _run(command: Sequence[str], err: int, limit: float) -> int | None:
    """The exit code, None when the time was up. No descendant of the process survives."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(code: int | None, limit: float, log: str) -> str:
    """One line: the time limit, the signal, or the last error that the process printed."""
    if code is None:
        return f"not done within {limit:g} s"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    errors = [found[1] for line in log.splitlines() if (found := _ERROR.match(line.strip()))]
    return errors[-1][:300] if errors else f"exit code {code}"


HEAD = ["model", "precision", "load", *(f"sync {i + 1}" for i in range(ROUNDS)), "unsynced", "rounding", "verdict"]


def cells(row: Row) -> list[str]:
    """A row of the table: gaps as mean / max, in nats."""
    gaps = [f"{r.mean:.1e} / {r.max:.1e}" for r in row.rounds]
    gaps += ["-"] * (ROUNDS + 1 - len(gaps))
    before = [r.before for r in row.rounds[1:]]
    rounding = [r.rounding for r in row.rounds if r.rounding is not None]
    edge = [f"{min(before):.2f}" if before else "-", f"{sum(rounding) / len(rounding):.1e}" if rounding else "-"]
    return [row.model, row.dtype, *gaps, *edge, row.judged[1].replace("|", "/")]


def markdown(row: Sequence[str]) -> str:
    """The cells as one line, in columns on a terminal and a table in a page."""
    widths = [11, 9, *[17] * (ROUNDS + 1), 8, 8, 0]
    return f"| {' | '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True))} |"


def table(measured: Sequence[Row]) -> str:
    """The whole table in Markdown."""
    lines = [HEAD, ["-" * 3] * len(HEAD), *(cells(row) for row in measured)]
    return "\n".join(markdown(line) for line in lines)


def check_page(page: Path) -> None:
    """ConfigError, before any work, when the table cannot be put into `page` later."""
    if page.exists() and not (page.is_file() and re.search(f"{BEGIN}.*{END}", page.read_text(encoding="utf-8"), re.S)):
        raise ConfigError([f"--write {page}: exists and has no `{BEGIN}` ... `{END}` to put the table between"])
    if not page.parent.is_dir():
        raise ConfigError([f"--write {page}: no folder {page.parent}"])


def write_page(page: Path, measured: Sequence[Row]) -> None:
    """Put the table, and what it was measured with, between the marks of `page`; a new page has only that."""
    used = {name: number for name, number in provenance.versions().items() if name in ("torch", "transformers")}
    vllm = {name: number for name, number in provenance.versions().items() if name.startswith("vllm")}
    with_ = ", ".join(f"{name} {number}" for name, number in (vllm | used).items())
    told = f"Measured {datetime.date.today()} with {with_} on {provenance.device()}."
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Fidelity\n\n{BEGIN}{END}\n"
    head, rest = old.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    temp = page.with_name(f".{page.name}.tmp")
    temp.write_text(f"{head}{BEGIN}\n{table(measured)}\n\n{told}\n{END}{tail}", encoding="utf-8")
    temp.replace(page)
