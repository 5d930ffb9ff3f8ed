"""Preference rows as token rows for a reward model, and a held-out part that shares no prompt with the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.chat import TAGS, ChatError, Judges, asked, judged_text, messages, render_judged

Kind = Literal["pairs", "labels"]
Row = Mapping[str, Any]
COLUMNS: dict[Kind, tuple[str, ...]] = {"pairs": ("chosen", "rejected"), "labels": ("completion",)}


class PreferenceError(ValueError):
    """Preferences that cannot be trained on; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Texts ready for a reward model: for `pairs` chosen at even places, each followed by its rejected one; for
    `labels` one text a row with its label.

    input_ids[i]: prompt, judged text, end token. lengths[i]: tokens of the judged text alone.
    """

    kind: Kind
    input_ids: list[list[int]]
    lengths: list[int]
    labels: list[float]
    nothing_to_judge: int = 0
    too_long: int = 0

    @property
    def rows(self) -> int:
        return len(self.input_ids) // (2 if self.kind == "pairs" else 1)


def kind_of(rows: Sequence[Row], where: str = "preferences") -> Kind:
    """Whether rows are pairs (chosen, rejected) or labelled completions; PreferenceError where they are neither or
    both, or a label is no number from 0 to 1."""
    if not rows:
        raise PreferenceError(f"{where}: there are no rows")
    found: set[Kind] = set()
    for i, row in enumerate(rows):
        pair = row.get("chosen") is not None and row.get("rejected") is not None
        label = row.get("completion") is not None and row.get("label") is not None
        if pair == label:
            raise PreferenceError(f"{where}: row {i + 1} needs either chosen and rejected or completion and label")
        texts = ("chosen", "rejected") if pair else ("completion",)
        if no_text := next((column for column in texts if not isinstance(row[column], str)), None):
            raise PreferenceError(f"{where}: row {i + 1}: {no_text} is no text but a {type(row[no_text]).__name__}")
        if label and not (isinstance(row["label"], int | float) and 0.0 <= row["label"] <= 1.0):
            raise PreferenceError(f"{where}: row {i + 1}: label {row['label']} is not between 0 (bad) and 1 (good)")
        try:
            messages(row)
        except ChatError as error:
            raise PreferenceError(f"{where}: row {i + 1}: {error}") from error
        found.add("pairs" if pair else "labels")
    if len(found) > 1:
        raise PreferenceError(f"{where}: pairs and labelled completions are mixed: train one reward model on each")
    return found.pop()


def split(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows): about `share` of the prompts are held out, chosen by their digest."""
    kept: list[Row] = []
    held: list[Row] = []
    for row in rows:
        digest = hashlib.sha256(f"held out/{asked(row)}".encode()).digest()
        (held if int.from_bytes(digest[:8], "big") < share * 2**64 else kept).append(row)
    return kept, held


def encode(
    tokenizer: Any, rows: Sequence[Row], kind: Kind, *, judges: Judges, template: str, max_length: int
) -> Judged:
    """Render the judged part of every completion. A row with nothing to judge, or of more than `max_length` tokens,
    is left out and counted."""
    ids: list[list[int]] = []
    lengths: list[int] = []
    labels: list[float] = []
    nothing = too_long = 0
    for row in rows:
        texts = [_training_text(row[column], judges) for column in COLUMNS[kind]]
        made = [render_judged(tokenizer, row, text, template) for text in texts if text is not None]  # type: ignore[arg-type]
        if len(made) < len(texts):
            nothing += 1
        elif max(map(len, made)) > max_length:
            too_long += 1
        else:
            ids += made
            lengths += [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
            labels += [float(row["label"])] if kind == "labels" else []
    return Judged(kind, ids, lengths, labels, nothing, too_long)


def _training_text(completion: str, judges: Judges) -> str | None:
    """People's answers carry no tags: such a text is an answer as a whole. (A policy's completion without them is
    none, see `models.chat.judged_text`.)"""
    if judges == "answer" and not any(tag in completion for tag in TAGS):
        return completion.strip() or None
    return judged_text(completion, judges)
