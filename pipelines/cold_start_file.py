"""Cold-start samples of a file: every answer of every conversation in it, as candidates for the filters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.chat import ChatError, asked, one_form, samples_of
from pipelines.house_form import house_form
from pipelines.problems.sources import SourceError, open_source


def read_candidates(
    file: Path, columns: Mapping[str, str], count_tokens: Callable[[str], int] | None
) -> Iterator[dict[str, Any]]:
    """A candidate for each completion of the file, in the house's form, with `original`, `row` (from 1), and with
    `answer` and `tests` where the file has them. SourceError for what is no sample.

    Without `count_tokens` the lengths are not known: `n_tokens` is 0.
    """
    for number, row in enumerate(open_source(str(file), columns=columns), 1):
        try:
            parts = [one_form(part) for part in samples_of(one_form(row))]
        except ChatError as error:
            raise SourceError(f"{file}, row {number}: {error}") from error
        for place, part in enumerate(parts, 1):
            if not all(isinstance(part.get(name), str) and part[name].strip() for name in ("prompt", "completion")):
                raise SourceError(
                    f"{file}, row {number}: no text in 'prompt' or 'completion', nor in 'messages'; name the columns "
                    "with `columns: {prompt: NAME, completion: NAME}`"
                )
            yield _candidate(part, number, f"/{place}" if len(parts) > 1 else "", count_tokens)


def _candidate(
    part: Mapping[str, Any], number: int, place: str, count_tokens: Callable[[str], int] | None
) -> dict[str, Any]:
    tests, answer, text = part.get("tests"), part.get("answer"), str(part["completion"])
    family = part.get("family") or ("code" if tests else "math")
    kind = part.get("kind") or family
    id = f"{part['id']}{place}" if part.get("id") else f"{kind}-{hashlib.sha256(asked(part).encode()).hexdigest()[:12]}"
    formed = house_form(text, code=bool(tests))
    return {
        **part,
        "id": id,
        "family": family,
        "kind": kind,
        "system": part.get("system"),
        "answer": None if answer is None else str(answer),
        "tests": json.dumps(tests) if isinstance(tests, dict) else tests or None,
        "completion": formed,
        "original": text,
        "row": number,
        "finish": "stop",
        "n_tokens": count_tokens(formed) if count_tokens else 0,
        "correct": None,
        "reward": None,
        "rewards": None,
    }
