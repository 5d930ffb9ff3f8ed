"""Results of a long stage in pieces that survive a kill: each is whole or absent, and a damaged one is made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.sealed import file_digest, intact, signed
from pipelines.artifacts import ROWS, write_rows
from pipelines.store import write_json


class Shards:
    """Numbered pieces in a folder: rows as Parquet, and a sealed JSON object beside them that is written last.

    `warn` is told about a piece that is not what was written.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder, self._warn = folder, warn
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, index: int, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        """Add a piece. It counts from the moment its seal is there."""
        parquet = self._rows(index)
        if rows:
            write_rows(parquet, rows)
        digest = file_digest(parquet) if rows else ""
        write_json(self._seal(index), signed({"about": about, "rows": digest}), durable=True)

    def read(self, index: int) -> dict[str, Any] | None:
        """What was written beside the rows of a piece; None where it is absent or damaged."""
        seal, parquet = self._seal(index), self._rows(index)
        if not seal.exists():
            return None
        try:
            content = json.loads(seal.read_text())
            whole = intact(content) and (not content["rows"] or file_digest(parquet) == content["rows"])
        except (OSError, ValueError, KeyError, AttributeError):
            whole = False
        if whole:
            found: dict[str, Any] = content["about"]
            return found
        self._warn(f"{seal.name}: damaged, is made again")
        seal.unlink()
        return None

    def join(self, target: Path, count: int) -> None:
        """Write the rows of pieces 0 to `count` - 1 into `target`/rows.parquet, one piece in memory at a time."""
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

        files = [file for i in range(count) if (file := self._rows(i)).exists()]
        # A column that is null throughout a piece has no type there.
        schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
        with pq.ParquetWriter(target / ROWS, schema) as writer:
            for file in files:
                writer.write_table(_as(pq.read_table(file), schema))

    def _rows(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.parquet"

    def _seal(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.json"


def _as(table: Any, schema: Any) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

    missing = [name for name in schema.names if name not in table.column_names]
    for name in missing:
        table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
    return table.select(schema.names).cast(schema)
