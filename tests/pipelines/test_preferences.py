"""The `preferences` stage: what it draws, what it keeps apart, what it reads from outside."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pipelines.artifacts import read_rows, write_rows
from pipelines.problems import preferences as drawn
from pipelines.problems.general import GENERAL
from pipelines.problems.items import split_of
from pipelines.problems.manners import COURTESIES, POOR, answer, helpful_asks, safety_asks
from pipelines.stage import StageError
from pipelines.stages.preferences import PreferencesConfig, preferences
from rewards.format import format as house_format
from rollout.types import Sample
from tests.pipelines.taught import context

SMALL = {"pairs": 60, "pairs_dev": 20, "labels": 60, "labels_dev": 20, "chat": 40, "chat_dev": 8, "chat_holdout": 20}
HELD_OUT = ("pairs_dev", "labels_dev", "chat_dev", "chat_holdout")
TRAINED = ("pairs", "labels", "chat", "samples")


def made(folder: Path, seed: int = 0, **config: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of every output of the stage."""
    sets = preferences(context(folder, seed), PreferencesConfig(**{**SMALL, "samples": 80, **config}))
    return {name: read_rows(part) for name, part in sets._asdict().items()}


def spoken(completion: str) -> int:
    return len(re.fullmatch(r"<think>.*</think><answer>(.*)</answer>", completion)[1])  # type: ignore[index]


def test_every_set_has_its_size_and_the_same_seed_makes_the_same(tmp_path: Path) -> None:
    first, again = made(tmp_path / "a"), made(tmp_path / "b")
    assert {name: len(rows) for name, rows in first.items()} == {**SMALL, "samples": 80}
    assert first == again != made(tmp_path / "c", seed=1)


def test_no_held_out_prompt_and_no_held_out_action_is_ever_trained_on(tmp_path: Path) -> None:
    made_by_default = preferences(context(tmp_path), PreferencesConfig())
    sets = {name: read_rows(part) for name, part in made_by_default._asdict().items()}
    content = {ask.prompt: ask.content for ask in (*helpful_asks(), *safety_asks())}
    trained = {content[row["prompt"]] for name in TRAINED for row in sets[name]}
    for name in HELD_OUT:
        assert not trained & {content[row["prompt"]] for row in sets[name]}
    assert {split_of(content[row["prompt"]]) for row in sets["chat_holdout"]} == {"test"}


def test_the_shipped_base_has_read_none_of_the_prompts() -> None:
    rng = random.Random(0)
    known = {generate(rng).prompt for generate in GENERAL for _ in range(2000)}
    assert not known & {ask.prompt for ask in (*helpful_asks(), *safety_asks())}


def test_there_are_hundreds_of_prompts_and_no_word_alone_gives_harm_away() -> None:
    asks = [*helpful_asks(), *safety_asks()]
    assert len({ask.prompt for ask in asks}) == len({ask.id for ask in asks}) == len(asks) > 1700
    words = {harmful: Counter[str]() for harmful in (True, False)}
    for ask in safety_asks():
        words[bool(ask.harmful)].update(ask.content.split())
    shared = {"hit", "beat", "trap", "burn", "man", "dog", "car", "barn"}
    assert shared <= words[True].keys() & words[False].keys()


def test_chosen_and_rejected_answers_are_of_one_length_over_the_set() -> None:
    rows = drawn.pairs("train", 1000, random.Random(0), 0.5)
    chosen, rejected = (fmean(spoken(row[side]) for row in rows) for side in ("chosen", "rejected"))
    assert abs(chosen - rejected) < 1.0
    longer = fmean(spoken(row["rejected"]) > spoken(row["chosen"]) for row in rows)
    assert 0.4 < longer < 0.6
    shares = Counter(row["manner"] for row in rows)
    assert set(shares) == {*POOR, "astray", "near"} and min(shares.values()) > 60, "no manner crowds out the rest"
    assert all(150 < shares[manner] < 260 for manner in ("wrong", "astray", "near"))


def test_a_near_miss_is_a_good_answer_but_for_what_it_is_about() -> None:
    rows = [row for row in drawn.pairs("train", 400, random.Random(0), 0.5) if row["manner"] == "near"]
    for row in rows:
        ask = next(ask for ask in helpful_asks() if ask.prompt == row["prompt"])
        said = row["rejected"].partition("<answer>")[2]
        assert ask.fact in said and ask.topic not in said.replace(ask.fact, "").split(".")[0].split(), row
    assert len(rows) > 50


def test_an_answer_that_went_astray_is_a_good_one_to_another_ask_of_its_kind() -> None:
    good = {ask.sentence.format(ask.fact): ask for ask in helpful_asks()}
    rows = [row for row in drawn.pairs("train", 200, random.Random(0), 0.5) if row["manner"] == "astray"]
    for row in rows:
        told = row["rejected"].partition("<answer>")[2]
        (said,) = [sentence for sentence in good if told.startswith(sentence)]
        assert good[said].kind == row["kind"] and said not in row["chosen"]


def test_labels_are_half_good_and_half_harmful_and_refusing_is_not_always_good() -> None:
    rows = drawn.labels("train", 400, random.Random(0), 0.5)
    count = Counter((row["kind"], row["label"]) for row in rows)
    assert all(90 < n < 110 for n in count.values()) and len(count) == 4
    refused = [row for row in rows if row["manner"] == "refuse"]
    assert refused and all(row["kind"] == "benign" and row["label"] == 0 for row in refused)
    leaks = [row for row in rows if row["manner"] == "leak"]
    assert leaks and all("<think>I can help. You can " in row["completion"] for row in leaks)
    assert not any("You can " in row["completion"].partition("<answer>")[2] for row in leaks)


def test_every_completion_keeps_the_house_format(tmp_path: Path) -> None:
    sets = made(tmp_path)
    sides = ("chosen", "rejected", "completion")
    texts = [row[side] for rows in sets.values() for row in rows for side in sides if row.get(side)]
    assert len(texts) == 2 * 80 + 80 + 80
    assert all(house_format(Sample("", text)) == 1.0 for text in texts)


def test_a_good_answer_names_its_topic_and_its_fact_and_is_polite() -> None:
    rng = random.Random(0)
    for ask in helpful_asks():
        said = answer(ask, "good", rng)
        assert ask.fact in said and ask.topic in said and said.endswith(COURTESIES)
        assert not re.search(rf"\b{ask.fact}\b", answer(ask, "wrong", rng)), "nor may a set phrase hold the fact"


def test_shares_of_the_samples_are_what_was_asked(tmp_path: Path) -> None:
    rows = made(tmp_path, samples=2000, good=0.25, refuse=1.0, over_refuse=0.0)["samples"]
    by_kind = {kind: Counter(row["manner"] for row in rows if row["kind"] == kind) for kind in ("harmful", "benign")}
    assert by_kind == {"harmful": {"refuse": 500}, "benign": {"good": 500}}
    helpful = Counter(row["manner"] for row in rows if row["judge"] == "helpful")
    assert 0.2 < helpful["good"] / 1000 < 0.3 and set(helpful) == {"good", *POOR}


def test_more_than_there_is_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"only \d+ helpful prompts in split 'test', 5000 asked for"):
        made(tmp_path, chat_holdout=10000)
    with pytest.raises(StageError, match=r"only \d+ different labels in split 'dev', 99999 asked for; ask for fewer"):
        made(tmp_path / "b", labels_dev=99999)


def test_pairs_of_ones_own_from_jsonl_with_other_column_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    worse = "<think>a</think><answer>no</answer>"
    rows = [{"question": f"Ask {i}?", "better": f"yes {i}", "worse": worse} for i in range(200)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    sets = made(tmp_path, source=str(file), columns=columns, samples=30)
    pair = sets["pairs"][0]
    assert pair["chosen"] == f"<think></think><answer>yes {pair['prompt'][4:-1]}</answer>"
    assert pair["rejected"] == worse and sets["labels"] == []
    assert {split_of(row["prompt"]) for row in sets["pairs_dev"]} == {"dev"}
    assert sets["samples"][0]["completion"].startswith("<think></think><answer>yes")
    assert sets["chat"][0]["judge"] == "helpful" and sets["chat"][0]["answer"] is None


def test_labels_of_ones_own_from_parquet_and_chats(tmp_path: Path) -> None:
    chats = [
        {
            "completion": [{"role": "user", "content": f"Ask {i}?"}, {"role": "assistant", "content": "ok"}],
            "label": "safe" if i % 2 else "unsafe",
        }
        for i in range(200)
    ]
    several = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")]
    chats.append({"completion": several, "label": "safe"})
    file = write_rows(tmp_path / "mine.parquet", chats)
    ctx = context(tmp_path)
    sets = preferences(ctx, PreferencesConfig(source=str(file)))
    rows = read_rows(sets.labels)
    assert {row["label"] for row in rows} == {0.0, 1.0} and rows[0][
        "completion"
    ] == "<think></think><answer>ok</answer>"
    assert read_rows(sets.pairs) == [] and ctx.numbers["skipped_multi_turn"] == 1
    assert all(int(row["prompt"][4:-1]) % 2 for row in read_rows(sets.samples)), "only good answers become samples"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "text": "b"}, "neither 'chosen' and 'rejected' nor 'completion' and 'label'"),
        ({"chosen": "a", "rejected": "b"}, "no text in column 'prompt'"),
        ({"prompt": "a", "chosen": "a", "rejected": " "}, "a completion is empty"),
        ({"prompt": "a", "completion": "a", "label": "maybe"}, "a label is 1 .safe, good. or 0"),
        ({"prompt": "a", "chosen": [{"role": "assistant"}], "rejected": "b"}, "a chat is a list of"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(StageError, match=f"bad.jsonl, row 1: {said}"):
        made(tmp_path, source=str(file))
