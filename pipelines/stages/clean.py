"""`clean` and `clean-samples`: training sets without what the evaluation sets hold, and without repeats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from models.chat import ChatError, answer_of, questions, shown
from pipelines.artifacts import ROWS, Artifact, Problems, Samples
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage

EXAMPLES = 5  # dropped rows shown for every reason


class CleanConfig(StageConfig):
    """R1 decontaminates with 10-grams (arXiv 2501.12948v2); the similarity of near repeats is ours."""

    ngram: int = Field(
        10, ge=0, description="drop a row that shares this many words in a row with an evaluation row; 0 = off"
    )
    near: float = Field(
        0.8, ge=0, le=1, description="drop a row at least this similar to one (Jaccard, 3-grams); 0 = off"
    )
    repeats: bool = Field(True, description="drop rows that repeat an earlier row of the set itself")
    fields: tuple[str, ...] = Field(("prompt",), description="columns that are compared, in both sets")


@stage(version=2, summary="drop problems that evaluation sets hold, and repeats")
def clean(ctx: Context, config: CleanConfig, *, problems: Problems, against: list[Problems]) -> Problems:
    _clean(ctx, config, [problems], against)
    return Problems(ctx.out)


@stage(version=2, summary="drop samples that evaluation sets hold, and repeats")
def clean_samples(ctx: Context, config: CleanConfig, *, samples: list[Samples], against: list[Problems]) -> Samples:
    _clean(ctx, config, samples, against)
    return Samples(ctx.out)


def _clean(ctx: Context, config: CleanConfig, sources: list[Any], against: list[Problems]) -> None:
    from pipelines.overlap import Overlap, repeats

    held = [(texts[0], row) for source in against for texts, row in _texts(source, config)]
    if held and not any(text.strip() for text, _ in held):
        raise StageError(f"fields: no row of `against` has text in {', '.join(config.fields)}: nothing can be compared")
    index = Overlap((text for text, _ in held), ngram=config.ngram, near=config.near)
    doubles = (
        repeats((texts[0] for s in sources for texts, _ in _texts(s, config)), near=config.near)
        if config.repeats
        else {}
    )
    writer = _Writer(ctx.out / ROWS)
    counts, examples, seen = dict.fromkeys(("exact", "ngram", "near", "repeat"), 0), [], 0
    total = sum(_count(source) for source in sources)
    with writer, ctx.progress("compare", total) as bar:
        for source in sources:
            texts, rows = _tee(_texts(source, config))
            for hit, row in zip(index.first_hits(texts), rows, strict=True):
                why = hit.kind if hit is not None else "repeat" if seen in doubles else ""
                seen += 1
                bar.advance(kept=writer.kept)
                if not why:
                    writer.add(row)
                    continue
                counts[why] += 1
                if counts[why] <= EXAMPLES:
                    other = held[hit.other][1].get("id") if hit is not None else None
                    examples.append({"why": why, "id": row.get("id"), "of": other, "text": shown(row)[:300]})
    if not writer.kept:
        raise StageError(f"none of {seen} rows is left: {_told(counts)}")
    about = {"seen": seen, "kept": writer.kept, **counts, "against": len(held)}
    (ctx.out / "dropped.json").write_text(json.dumps({**about, "examples": examples}, indent=1))
    ctx.summary(**about)


def _texts(source: Artifact, config: CleanConfig) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """(compared texts, row) of a set, read in pieces: first the fields together, then each of several questions."""
    for row in _rows(source):
        try:
            asked, *each = questions(row) if "prompt" in config.fields else [None]
            said = {**row, "prompt": asked, "completion": answer_of(row)}
        except ChatError as error:
            raise StageError(f"{source.path / ROWS}: {error}") from error
        yield ["\n".join(str(said[name]) for name in config.fields if said.get(name) is not None), *each], row


def _rows(source: Artifact) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    for batch in pq.ParquetFile(source.path / ROWS).iter_batches(8192):
        yield from batch.to_pylist()


def _count(source: Artifact) -> int:
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    return int(pq.ParquetFile(source.path / ROWS).metadata.num_rows)


def _tee(pairs: Iterator[tuple[list[str], dict[str, Any]]]) -> tuple[Iterator[list[str]], Iterator[dict[str, Any]]]:
    from itertools import tee

    first, second = tee(pairs)
    return (texts for texts, _ in first), (row for _, row in second)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {why}" for why, number in counts.items() if number)


class _Writer:
    """Rows to one Parquet file; held in columns, a piece at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.kept = path, 0
        self._rows: list[dict[str, Any]] = []
        self._tables: list[Any] = []

    def add(self, row: dict[str, Any]) -> None:
        self.kept += 1
        self._rows.append(row)
        if len(self._rows) == 65_536:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

        if self._rows:
            columns = list(dict.fromkeys(name for row in self._rows for name in row))
            self._tables.append(pa.table({name: pa.array([row.get(name) for row in self._rows]) for name in columns}))
            self._rows = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

        self._flush()
        if kind is None and self._tables:
            pq.write_table(pa.concat_tables(self._tables, promote_options="permissive"), self.path)
