"""What travels along the edges of a pipeline: folders with a type, and the reader and writer of their rows.

An artifact is a folder that a finished stage left in the store; it never changes afterwards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.chat import one_form

ROWS = "rows.parquet"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder made by a stage. The subclass says what is in it."""

    path: Path


@dataclass(frozen=True, slots=True)
class Model(Artifact):
    """A Hugging Face folder: config.json, model.safetensors, tokenizer files."""


@dataclass(frozen=True, slots=True)
class Problems(Artifact):
    """A folder with `rows.parquet`: id, prompt, answer, family, kind, tests, system; messages of a conversation."""


@dataclass(frozen=True, slots=True)
class Samples(Artifact):
    """A folder with `rows.parquet`: id, prompt, completion, family, kind, system, source and provenance columns;
    messages of a conversation, which may hold the completions, too (`docs/data.md`)."""


@dataclass(frozen=True, slots=True)
class Preferences(Artifact):
    """A folder with `rows.parquet`, of one kind throughout: id, prompt, system and either chosen and rejected (two
    completions, the first one better) or completion and label (1.0 good, for example safe; 0.0 bad)."""


@dataclass(frozen=True, slots=True)
class RewardModel(Artifact):
    """A Hugging Face folder whose model gives one number for a text, with `reward_model.json` (how to ask it)."""


@dataclass(frozen=True, slots=True)
class Scores(Artifact):
    """A folder with `scores.json` and `samples.parquet`."""


@dataclass(frozen=True, slots=True)
class Report(Artifact):
    """A folder with `report.html`."""


KINDS: dict[str, type[Artifact]] = {
    kind.__name__: kind for kind in (Model, Problems, Samples, Preferences, RewardModel, Scores, Report)
}

# One file that each type must have: catches a folder given for the wrong input before any work starts.
MARKS: dict[type[Artifact], str] = {
    Model: "config.json",
    Problems: ROWS,
    Samples: ROWS,
    Preferences: ROWS,
    RewardModel: "reward_model.json",
    Scores: "scores.json",
    Report: "report.html",
}


class RowsError(ValueError):
    """Rows that make no table; the message names the column, the first row that does not fit, and what to do."""


def read_rows(source: Artifact | Path) -> list[dict[str, Any]]:
    """Rows of an artifact, of a folder with `rows.parquet`, or of one Parquet file, in file order.

    Rows with `messages` come in the stages' one form (`models.chat.one_form`); ChatError where that is impossible.
    """
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    rows: list[dict[str, Any]] = pq.read_table(_rows_file(source)).to_pylist()
    return [one_form(row) if row.get("messages") else row for row in rows]


def write_rows(target: Artifact | Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as one Parquet file and return its path; a folder gets `rows.parquet` and is made if need be.

    Columns are the union of all rows' keys in order of first appearance; a missing value is null. RowsError where the
    values of a column are not of one type.
    """
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    file = _rows_file(target)
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = [dict(row) for row in rows]
    columns = list(dict.fromkeys(key for row in listed for key in row))
    pq.write_table(pa.table({name: _column(name, listed) for name in columns}), file)
    return file


def _column(name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

    values = [row.get(name) for row in rows]

    faults = (pa.ArrowException, OverflowError, UnicodeEncodeError)

    def breaks(n: int) -> bool:
        """Whether the first `n` values already make no column."""
        try:
            pa.array(values[:n])
        except faults:
            return True
        return False

    try:
        return pa.array(values)
    except faults as error:
        why = str(error).splitlines()[0]
    place = bisect_left(range(1, len(values) + 1), True, key=breaks)
    named = f" (id {rows[place]['id']})" if rows[place].get("id") else ""
    raise RowsError(
        f"column {name!r}, row {place + 1}{named}: {why}. A column holds values of one type: "
        "write it the same way in all rows, as text for example, or leave it out"
    )


def _rows_file(source: Artifact | Path) -> Path:
    path = source.path if isinstance(source, Artifact) else source
    return path if path.suffix == ".parquet" else path / ROWS
