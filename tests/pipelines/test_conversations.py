"""Conversations and system texts on their way through the stages."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.chat import asked
from pipelines.artifacts import Model, Problems, Samples, read_rows, write_rows
from pipelines.problems.items import split_of
from pipelines.problems.sources import SourceError, read_source
from pipelines.report_data import ScoreSet
from pipelines.report_samples import transcripts
from pipelines.stages.clean import CleanConfig, clean, clean_samples
from pipelines.stages.eval import EvalConfig, eval
from pipelines.stages.grpo import GrpoConfig, grpo
from pipelines.stages.problems import ProblemsConfig, problems
from pipelines.stages.sample import SampleConfig, sample
from pipelines.stages.sft import SftConfig, sft
from tests.pipelines.taught import ENGINE, PROBLEMS, context, read_json, taught_model

pytestmark = pytest.mark.xdist_group("taught")

SYSTEM = "Double."
CHAT = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "Double 3?"},
    {"role": "assistant", "content": "<think>twice</think><answer>6</answer>"},
    {"role": "user", "content": "Half of 12?"},
]
ROW = {"messages": CHAT, "answer": "6"}


def read(tmp_path: Path, rows: list[dict[str, Any]], columns: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_source(str(file), columns=columns, size=1, seed=0))


def test_a_conversation_comes_in_at_the_door_as_jsonl_and_parquet(tmp_path: Path) -> None:
    again = [*CHAT[:1], {"role": "user", "content": "Half of 24?"}, *CHAT[2:]]
    rows = read(tmp_path, [ROW, {"messages": again, "answer": "6"}, {"messages": CHAT[:2], "answer": "6"}])
    assert [(row["prompt"], row["system"]) for row in rows] == [("Half of 12?", SYSTEM)] * 2 + [("Double 3?", SYSTEM)]
    assert rows[0]["messages"] == CHAT and "messages" not in rows[2]
    assert len({row["id"] for row in rows}) == 3  # the last question alone does not tell two apart
    file = write_rows(tmp_path / "chats.parquet", [ROW])
    assert list(read_source(str(file), columns={}, size=1, seed=0)) == rows[:1]
    assert read(tmp_path, [{"turns": CHAT, "gold": 6}], {"messages": "turns", "answer": "gold"}) == rows[:1]


def test_a_problem_that_holds_its_own_solution_is_refused_unless_the_prompt_is_named(tmp_path: Path) -> None:
    solved = {"problem": "Double 3?", "messages": CHAT[1:3], "answer": "6"}
    with pytest.raises(SourceError, match=r"chats.jsonl, row 1: messages must end with a user's turn"):
        read(tmp_path, [solved])
    [row] = read(tmp_path, [solved], {"prompt": "problem"})
    assert row["prompt"] == "Double 3?" and "messages" not in row


def test_the_split_is_that_of_the_whole_conversation(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [
        {"messages": [CHAT[1] | {"content": f"Double {draw.random()}?"}, *CHAT[2:]], "answer": "6"} for _ in range(200)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context(tmp_path)
    ctx.base = tmp_path
    made = problems(ctx, ProblemsConfig(source="chats.jsonl", n=500, dev=50, holdout=50))
    counts = [len(read_rows(part)) for part in (made.train, made.dev, made.holdout)]
    assert sum(counts) == 200 and min(counts) > 3
    assert {split_of(asked(row)) for row in read_rows(made.holdout)} == {"test"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return taught_model(tmp_path_factory)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Problems:
    folder = tmp_path_factory.mktemp("given")
    write_rows(folder, [{"id": "chat", "family": "math", "kind": "chat", **ROW}, {**PROBLEMS[0], "system": SYSTEM}])
    return Problems(folder)


def test_through_sampling_training_and_evaluation(model: Model, given: Problems, tmp_path: Path) -> None:
    config = SampleConfig(**ENGINE, n=2, keep="all")
    harvest = sample(context(tmp_path / "sample"), config, model=model, problems=given)
    rows = {row["id"]: row for row in read_rows(harvest)}
    assert rows["chat"]["messages"] == CHAT and rows["chat"]["prompt"] == "Half of 12?"
    assert rows["double"]["messages"] is None and {row["system"] for row in rows.values()} == {SYSTEM}

    chats = Samples(tmp_path / "chats")
    write_rows(chats, [{"id": "whole", "messages": [*CHAT, {"role": "assistant", "content": "<answer>6</answer>"}]}])
    ctx = context(tmp_path / "sft")
    trained = sft(ctx, SftConfig(batch=2, epochs=1, lr=1e-6, save_every=0), model=model, samples=[harvest, chats])
    assert ctx.numbers["rows"] == len(rows) + 2  # the whole conversation has two answers

    made = eval(context(tmp_path / "eval"), EvalConfig(**ENGINE, k=1), models={"m": trained}, problems=[given])
    scored = {row["id"]: row for row in read_rows(made.path / "samples.parquet")}
    assert scored["chat"]["messages"] == CHAT and scored["double"]["system"] == SYSTEM
    scores = ScoreSet("eval", read_json(made.path / "scores.json")["models"], {}, made.path)
    told = {one.id: one.prompt for one in transcripts(scores)}
    assert told["chat"].splitlines() == [
        "[system] Double.", "[user] Double 3?", "[assistant] <answer>6</answer>", "[user] Half of 12?"
    ]  # fmt: skip
    assert told["double"] == "[system] Double.\n[user] Double 3?"


def test_reinforcement_learning_asks_the_whole_conversation(
    model: Model, given: Problems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rollout.hf_engine import HfEngine

    asked_for: list[list[int]] = []
    generate = HfEngine.generate

    def spied(self: HfEngine, prompts_ids: Any, *args: Any, **how: Any) -> Any:
        asked_for.extend(prompts_ids)
        return generate(self, prompts_ids, *args, **how)

    monkeypatch.setattr(HfEngine, "generate", spied)
    small = {"engine": "transformers", "steps": 1, "prompts_per_step": 2, "group": 2, "max_tokens": 8, "lr": 1e-6}
    grpo(context(tmp_path), GrpoConfig(**small, rewards={"math": 1.0}), model=model, problems=[given])
    from models.checkpoint import load_tokenizer

    texts = {load_tokenizer(model.path).decode(ids) for ids in asked_for}
    start = "<|bos|><|system|>Double.<|user|>Double 3?<|assistant|>"
    assert texts == {
        f"{start}<answer>6</answer><|eos|><|user|>Half of 12?<|assistant|>",
        start,
    }


def test_a_held_out_question_is_found_inside_a_conversation(tmp_path: Path) -> None:
    held, mine = Problems(tmp_path / "held"), Problems(tmp_path / "mine")
    write_rows(held, [{"id": "test-1", "prompt": "Double  3?"}])
    other = [CHAT[1] | {"content": "Double 4?"}, *CHAT[2:]]
    write_rows(mine, [{"id": "a", **ROW}, {"id": "b", "messages": other}, {"id": "c", "messages": other}])
    made = clean(context(tmp_path), CleanConfig(), problems=mine, against=[held])
    assert [row["id"] for row in read_rows(made)] == ["b"]  # `c` repeats it
    dropped = read_json(made.path / "dropped.json")
    assert (dropped["exact"], dropped["repeat"]) == (1, 1)
    assert dropped["examples"][0]["of"] == "test-1" and "[user] Double 3?" in dropped["examples"][0]["text"]


def test_the_answers_of_a_whole_conversation_are_compared_where_completions_are(tmp_path: Path) -> None:
    held, mine = Problems(tmp_path / "held"), Samples(tmp_path / "mine")
    write_rows(held, [{"id": "test-1", "prompt": "a b c d e f g h i j k?"}])
    whole = [CHAT[1], {"role": "assistant", "content": "<think>a b c d e f g h i j k?</think>6"}]
    write_rows(mine, [{"id": "a", "messages": whole}, {"id": "b", "messages": [*CHAT[1:3], *CHAT[3:], CHAT[2]]}])
    made = clean_samples(
        context(tmp_path), CleanConfig(fields=("prompt", "completion")), samples=[mine], against=[held]
    )
    assert [row["id"] for row in read_rows(made)] == ["b"]
