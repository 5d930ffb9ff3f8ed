"""What evaluation sets hold, asked while completions are drawn: problems first, then what was written about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.chat import asked, questions, shown
from pipelines.artifacts import Problems, read_rows
from pipelines.curation import EXAMPLE_CHARS, EXAMPLES
from pipelines.overlap import Overlap


class Screen:
    """Finds texts that repeat a prompt of the evaluation sets (`pipelines.overlap`; knobs as in the stage `clean`)."""

    def __init__(self, against: Sequence[Problems], *, ngram: int, near: float) -> None:
        self._held = [row for source in against for row in read_rows(source)]
        self._index = Overlap((asked(row) for row in self._held), ngram=ngram, near=near)

    def problems(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
        """(the problems that no evaluation set holds, the filter of the others): nothing is drawn for those."""
        hits = list(self._index.first_hits(questions(row) for row in rows))
        clean = [row for row, hit in zip(rows, hits, strict=True) if hit is None]
        found = [(row, hit) for row, hit in zip(rows, hits, strict=True) if hit is not None]
        examples = [
            f"{hit.kind} of {self._held[hit.other].get('id')}: {shown(row)}"[:EXAMPLE_CHARS]
            for row, hit in found[:EXAMPLES]
        ]
        return clean, [{"name": "contaminated", "dropped": len(found), "examples": examples}]

    def completions(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it holds an evaluation prompt, or a run of its words."""
        return [hit is not None for hit in self._index.hits(texts)]
