"""`chats`: outside conversations become Samples rows, and what is no chat is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.chat import samples_of
from pipelines.artifacts import read_rows
from pipelines.context import Context
from pipelines.stage import StageError
from pipelines.stages.chats import ChatsConfig, chats, to_house


def read(tmp_path: Path, rows: list[dict[str, Any]], **config: Any) -> list[dict[str, Any]]:
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "out").mkdir()
    context = Context(out=tmp_path / "out", seed=0, scratch=tmp_path, base=tmp_path)
    return read_rows(chats(context, ChatsConfig(source="given.jsonl", **config)))


def test_named_columns(tmp_path: Path) -> None:
    (row,) = read(tmp_path, [{"q": "Hi?", "a": "Hello."}], columns={"prompt": "q", "completion": "a"})
    assert (row["prompt"], row["completion"], row["family"], row["source"]) == ("Hi?", "Hello.", "chat", "given.jsonl")


USER, ANSWER = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "<think>so</think>Hello."}


def test_one_question_and_answer_become_prompt_and_completion(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]}, {"messages": [USER]}]
    (row,) = read(tmp_path, rows)
    assert (row["system"], row["prompt"], row["completion"]) == ("Be brief.", "Hi?", "<think>so</think>Hello.")


def test_a_longer_conversation_stays_whole(tmp_path: Path) -> None:
    later = {"role": "user", "content": "And then?"}
    (row,) = read(tmp_path, [{"messages": [USER, ANSWER, later, ANSWER]}], shape="house")
    assert row["prompt"] == "And then?" and row.get("completion") is None
    assert [turn["content"] for turn in row["messages"]] == [
        *("Hi?", "<think>so</think><answer>Hello.</answer>", "And then?", "<think>so</think><answer>Hello.</answer>")
    ]
    assert [len(sample["messages"]) for sample in samples_of(row)] == [1, 3]


def test_the_same_chat_counts_once_and_n_bounds_them(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i % 5}?", "completion": "yes"} for i in range(10)]
    assert len({row["prompt"] for row in read(tmp_path, rows, n=4)}) == 4


@pytest.mark.parametrize(
    ("given", "house"),
    [
        ("<think>\nTwo.\n</think>\n\nIt is 2.", "<think>Two.</think><answer>It is 2.</answer>"),
        ("Two.</think>2", "<think>Two.</think><answer>2</answer>"),
        ("<think>a</think><answer>2</answer>", "<think>a</think><answer>2</answer>"),
        ("Paris.", "<think></think><answer>Paris.</answer>"),
    ],
)
def test_the_house_shape(given: str, house: str) -> None:
    assert to_house(given) == house


def test_a_source_without_chats_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="none of 1 rows has text in prompt and completion"):
        read(tmp_path, [{"question": "Hi?"}])


def test_messages_that_are_named_count_before_a_prompt_beside_them(tmp_path: Path) -> None:
    turns = [USER, ANSWER, {"role": "user", "content": "And then?"}, ANSWER]
    (row,) = read(tmp_path, [{"prompt": "Hi?", "data": turns}], columns={"messages": "data"})
    assert len(row["messages"]) == 4


def test_a_conversation_that_ends_with_its_answer_needs_no_other(tmp_path: Path) -> None:
    turns = [USER, ANSWER, {"role": "user", "content": "And then?"}, ANSWER]
    for row in read(tmp_path, [{"messages": turns, "completion": "Hello."}]):
        assert len(samples_of(row)) == 2
