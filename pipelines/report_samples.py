"""The same problem answered by each stage: which problems to show, and the answers as harmless pieces of text."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.chat import shown
from pipelines.report_data import Json, ScoreSet, mapping, number
from pipelines.report_svg import pretty

MARKS = re.compile(r"(</?(?:think|answer)>)")


@dataclass(frozen=True)
class Answer:
    """One model's first completion: `pieces` lists (css class, text), `rewards` (name, value); `right` of all its `of`
    samples are correct."""

    model: str
    correct: bool | None
    pieces: list[tuple[str, str]]
    n_tokens: int | None
    finish: str
    right: int
    of: int
    cut: int
    rewards: list[tuple[str, str]]


@dataclass(frozen=True)
class Transcript:
    """One problem with an answer per model, in pipeline order. `gold` is empty where the samples carry no answer."""

    family: str
    id: str
    prompt: str
    gold: str
    answers: list[Answer]


def transcripts(scores: ScoreSet, *, per_family: int = 3, chars: int = 4000) -> list[Transcript]:
    """A few problems per family, the same ones each time.

    Preferred are problems where the first model fails and the last succeeds, with as clean a switch between as there
    is; the last one shown is a problem where the last model still fails, if there is any. Empty when samples.parquet
    is absent or lacks the columns model, id and completion.
    """
    index = read_samples(scores, ["model", "id", "family", "correct"])
    if not {"model", "id"} <= set(index[0] if index else {}):
        return []
    models = [name for name in scores.models if any(row["model"] == name for row in index)]
    if not models:
        return []
    chosen = _choose(index, models, per_family)
    rows = read_samples(scores, None, ids=[key for _, key in chosen])
    by_id: dict[str, list[Json]] = {}
    for row in rows:
        by_id.setdefault(str(row["id"]), []).append(row)
    return [_transcript(family, key, by_id.get(key, []), models, chars) for family, key in chosen]


def read_samples(scores: ScoreSet, columns: Sequence[str] | None, ids: Sequence[str] | None = None) -> list[Json]:
    """Rows of samples.parquet: some columns of all problems, or all columns of some problems."""
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
    import pyarrow.compute as pc  # type: ignore[import-untyped,unused-ignore]
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    path = scores.folder / "samples.parquet"
    try:
        table = pq.ParquetFile(path)
        names = set(table.schema_arrow.names)
        content = table.read(columns=[c for c in columns if c in names] if columns else None)
    except (OSError, pa.ArrowException):
        return []
    if ids is not None:
        content = content.filter(pc.is_in(content["id"].cast(pa.string()), value_set=pa.array(ids, pa.string())))
    rows: list[Json] = content.to_pylist()
    return rows


def first_completions(scores: ScoreSet, most: int) -> dict[str, list[str]]:
    """The first `most` completions of each model in samples.parquet, read piece by piece; empty where there is none."""
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    found: dict[str, list[str]] = {}
    try:
        for batch in pq.ParquetFile(scores.folder / "samples.parquet").iter_batches(
            4096, columns=["model", "completion"]
        ):
            for model, text in zip(batch["model"].to_pylist(), batch["completion"].to_pylist(), strict=True):
                texts = found.setdefault(str(model), [])
                if len(texts) < most:
                    texts.append(str(text or ""))
    except (OSError, KeyError, pa.ArrowException):
        return {}
    return found


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    score = number(value)
    return None if score is None else score >= 1.0


def _choose(index: list[Json], models: list[str], per_family: int) -> list[tuple[str, str]]:
    """(family, id) of the problems to show, families in order of appearance."""
    first: dict[tuple[str, str], dict[str, bool | None]] = {}
    for row in index:
        place = first.setdefault((str(row.get("family") or "all"), str(row["id"])), {})
        place.setdefault(str(row["model"]), _truth(row.get("correct")))
    chosen: list[tuple[str, str]] = []
    for family in dict.fromkeys(f for f, _ in first):
        ranked = sorted((k for k in first if k[0] == family), key=lambda k: _interest(k[1], first[k], models))
        solved = [k for k in ranked if first[k].get(models[-1])]
        failed = [k for k in ranked if not first[k].get(models[-1])]
        take = solved[: per_family - 1] + failed[:1] if per_family > 1 else ranked[:1]
        chosen += take + [k for k in ranked if k not in take][: per_family - len(take)]
    return chosen


def _interest(key: str, outcome: dict[str, bool | None], models: list[str]) -> tuple[int, int, str]:
    """Sort key: first fails and last succeeds before the rest, few switches before many, then a hash of the id."""
    path = [bool(outcome.get(model)) for model in models]
    switches = sum(a != b for a, b in itertools.pairwise(path))
    learned = 0 if path[-1] and not path[0] else 1
    return learned, switches, hashlib.sha256(key.encode()).hexdigest()


def _transcript(family: str, key: str, rows: list[Json], models: list[str], chars: int) -> Transcript:
    answers = []
    for model in models:
        mine = [row for row in rows if str(row["model"]) == model]
        if mine:
            answers.append(_answer(model, mine, chars))
    head = rows[0] if rows else {}
    gold = "" if head.get("answer") is None else str(head["answer"])
    return Transcript(family, key, shown(head)[:chars], gold[:200], answers)


def _answer(model: str, rows: list[Json], chars: int) -> Answer:
    text = str(rows[0].get("completion") or "")
    length = number(rows[0].get("n_tokens"))
    return Answer(
        model=model,
        correct=_truth(rows[0].get("correct")),
        pieces=pieces(text[:chars]),
        n_tokens=None if length is None else int(length),
        finish=str(rows[0].get("finish") or ""),
        right=sum(_truth(row.get("correct")) is True for row in rows),
        of=len(rows),
        cut=max(0, len(text) - chars),
        rewards=[
            (str(k), pretty(v)) for k, x in mapping(rows[0].get("rewards")).items() if (v := number(x)) is not None
        ],
    )


def pieces(text: str) -> list[tuple[str, str]]:
    """The completion cut at its marks: (class, text) with class mark, think, answer or text. Joined, it is `text`."""
    out: list[tuple[str, str]] = []
    css = "text"
    for part in MARKS.split(text):
        if MARKS.fullmatch(part):
            out.append(("mark", part))
            css = "text" if part.startswith("</") else part[1:-1]
        elif part:
            out.append((css, part))
    return out
