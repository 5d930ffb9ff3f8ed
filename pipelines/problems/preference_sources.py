"""Preference data from outside: rows of a file or a data set as pairs or labelled completions in the house format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.problems.sources import FILES, SourceError, open_source

Row = dict[str, Any]
_LABELS: dict[object, float] = {"safe": 1.0, "good": 1.0, 1: 1.0, "unsafe": 0.0, "bad": 0.0, 0: 0.0}


def read_preferences(source: str, columns: Mapping[str, str]) -> Iterator[Row | None]:
    """Rows with prompt and either chosen and rejected or completion and label; None for one that has several turns.

    `columns` maps our names to the source's. Texts may be strings or chats (lists of {role, content}) of one turn, with
    the prompt in a column of its own or as the chat's first turn. A completion without thinking tags gets empty
    thinking, so that it has the house format.

    Raises:
        SourceError: the source cannot be read, or a row is neither a pair nor labelled.
    """
    for number, raw in enumerate(open_source(source, columns={}), 1):
        row = dict(raw) | {ours: raw[theirs] for ours, theirs in columns.items() if theirs in raw}
        try:
            yield _normal(row)
        except ValueError as error:
            raise SourceError(f"{source}, row {number}: {error}") from None


def is_file(source: str) -> bool:
    """Whether `source` is a file that belongs to the stage's key."""
    return source.endswith(FILES)


def check_source(source: str) -> str | None:
    """Why `source` cannot work, or None. Opens nothing; a file's absence is told by the stage's `files`."""
    if source == "manners" or is_file(source) or (source.startswith("datasets:") and source != "datasets:"):
        return None
    return f"source {source!r} is none of manners, a .jsonl or .parquet file, datasets:NAME[:SPLIT]"


def _normal(row: Row) -> Row | None:
    wanted = next((w for w in (("chosen", "rejected"), ("completion", "label")) if set(w) <= row.keys()), None)
    if wanted is None:
        raise ValueError(
            "neither 'chosen' and 'rejected' nor 'completion' and 'label': map them with `columns: {chosen: NAME}`"
        )
    texts: Row = {}
    system, prompt = _opening(row.get("prompt"))
    for name in wanted:
        if name == "label":
            texts[name] = _label(row[name])
            continue
        if isinstance(row[name], list):
            opening = _opening(row[name][:-1])
            if len(row[name]) > 1 and row.get("prompt") is None:
                system, prompt = opening
            texts[name] = _housed(_content(row[name][-1]))
        else:
            texts[name] = _housed(row[name])
    if prompt is None:
        if row.get("prompt") is None and not isinstance(row[wanted[0]], list):
            raise ValueError("no text in column 'prompt'; name the column with `columns: {prompt: NAME}`")
        return None
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:12]
    judge = "helpful" if "chosen" in texts else "safety"
    about = {"id": str(row.get("id") or f"chat-{digest}"), "prompt": prompt, "system": row.get("system") or system}
    return about | {"kind": str(row.get("kind") or judge), "judge": judge} | texts


def _opening(given: Any) -> tuple[str | None, str | None]:
    """(system text, prompt) of a prompt given as a text or a chat; no prompt where there are several turns."""
    if isinstance(given, str):
        return None, given if given.strip() else None
    turns = [(str(t.get("role")), _content(t)) for t in given or ()]
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else None
    return system, turns[0][1] if len(turns) == 1 and turns[0][0] == "user" else None


def _content(turn: Any) -> str:
    text = turn.get("content") if isinstance(turn, Mapping) else None
    if not isinstance(text, str):
        raise ValueError("a chat is a list of {role, content}")
    return text


def _housed(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a completion is empty or no text")
    return text if "</think>" in text else f"<think></think><answer>{text}</answer>"


def _label(value: Any) -> float:
    label = _LABELS.get(value) if isinstance(value, (str, int, float)) else None
    if label is None:
        raise ValueError(f"a label is 1 (safe, good) or 0 (unsafe, bad), not {value!r}")
    return label
