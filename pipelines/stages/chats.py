"""`chats`: chat samples from outside, for SFT: cold-start chats, general chat, any data with prompts and answers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from models.chat import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, ChatError, one_form, samples_of
from pipelines.artifacts import Samples, write_rows
from pipelines.context import Context
from pipelines.problems.sources import FILES, PREFIXES, SourceError, open_source
from pipelines.stage import StageConfig, StageError, stage


class ChatsConfig(StageConfig):
    """Chats of a file or a dataset: `prompt` and `completion`, or `messages`, of one question or of several."""

    source: str = Field(description="a .jsonl or .parquet file, or datasets:NAME[/CONFIG][:SPLIT]")
    n: int = Field(1000, ge=1, description="chats taken, drawn at random from all of the source")
    family: str = Field("chat", description="family of the rows that have none")
    shape: Literal["as_is", "house"] = Field(
        "as_is", description="house: rewrite into <think>...</think><answer>...</answer>; without thinking it is empty"
    )
    columns: dict[str, str] = Field({}, description="our column names (prompt, completion, ...) -> the source's")


def _files(config: ChatsConfig) -> Iterable[str]:
    return [config.source] if config.source.endswith(FILES) else []


def _check(config: ChatsConfig) -> Iterable[str]:
    if not config.source.endswith(FILES) and not config.source.startswith(PREFIXES[0]):
        yield f"source {config.source!r} is neither a .jsonl or .parquet file nor datasets:NAME"


@stage(version=3, summary="chat samples for SFT from a file or a dataset", files=_files, check=_check)
def chats(ctx: Context, config: ChatsConfig) -> Samples:
    source = str(ctx.resolve(config.source)) if list(_files(config)) else config.source
    rows: dict[str, dict[str, Any]] = {}
    seen = 0
    try:
        for row in open_source(source, columns=config.columns):
            seen += 1
            if chat := read_chat(row, config.family, config.shape):
                rows.setdefault(chat["id"], chat)
    except SourceError as error:
        raise StageError(str(error)) from error
    if not rows:
        raise StageError(
            f"{config.source}: none of {seen} rows has text in prompt and completion, or in messages: see `columns`"
        )
    listed = list(rows.values())
    random.Random(f"chats:{ctx.seed}").shuffle(listed)
    kept = [row | {"source": config.source} for row in listed[: config.n]]
    write_rows(ctx.out, kept)
    ctx.summary(seen=seen, usable=len(listed), kept=len(kept))
    return Samples(ctx.out)


def to_house(completion: str) -> str:
    """The house format: what stands before `</think>` is the thinking, what follows it the answer."""
    thinking, closed, answer = completion.partition(THINK_CLOSE)
    if not closed:
        thinking, answer = "", completion
    bare = answer.replace(ANSWER_OPEN, "").replace(ANSWER_CLOSE, "").strip()
    return f"{THINK_OPEN}{thinking.replace(THINK_OPEN, '').strip()}{THINK_CLOSE}{ANSWER_OPEN}{bare}{ANSWER_CLOSE}"


def read_chat(row: Mapping[str, Any], family: str, shape: str = "as_is") -> dict[str, Any] | None:
    """The Samples row of an outside row; None where it is no chat or lacks its text.

    One question and answer become `prompt` and `completion`; a longer conversation stays whole in `messages`, and `sft`
    learns every answer of it.
    """
    form = to_house if shape == "house" else str
    try:
        kept = one_form(row)
        answers = [str(sample["completion"]) for sample in samples_of(kept)]
    except ChatError:
        return None
    prompt, system, turns = kept.get("prompt"), kept.get("system"), kept.get("messages")
    if not all(isinstance(text, str) and text.strip() for text in (prompt, *answers)):
        return None
    made: dict[str, Any] = {"prompt": prompt, "completion": form(answers[-1])}
    if turns and len([turn for turn in turns if turn["role"] == "user"]) > 1:
        spoken = [{**turn, "content": form(turn["content"])} if turn["role"] == "assistant" else turn for turn in turns]
        made = {"prompt": prompt, "messages": spoken} | (
            {"completion": made["completion"]} if "completion" in kept and turns[-1]["role"] == "user" else {}
        )
    digest = hashlib.sha256(f"{system}\0{made}".encode()).hexdigest()[:12]
    named = {"family": row.get("family") or family, "kind": row.get("kind") or family, "system": system}
    return {"id": f"chat-{digest}", **made, **named}
