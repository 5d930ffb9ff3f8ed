"""Contamination and repeats are found, unrelated texts are left alone."""

from __future__ import annotations

import io
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.artifacts import Problems, Samples, read_rows, write_rows
from pipelines.context import Context
from pipelines.overlap import Hit, Overlap, repeats
from pipelines.stage import StageError
from pipelines.stages.clean import CleanConfig, clean, clean_samples

SYLLABLES = ("ka", "lo", "mi", "ter", "sun", "ber", "al", "dor", "fen", "gra", "hul", "nis", "pro", "qui", "vex", "zan")


def problem(draw: random.Random) -> str:
    """A problem of three sentences in words of a made-up language, with numbers, LaTeX and one-letter names."""
    parts = []
    for _ in range(3):
        words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(12)]
        words[draw.randrange(12)] = str(draw.randint(2, 999))
        words[draw.randrange(12)] = f"$\\frac{{x}}{{{draw.randint(2, 99)}}}$"
        parts.append(" ".join(words))
    return f"{'. '.join(parts)}. Find $x$ if $x + {draw.randint(1, 999)} = {draw.randint(1000, 9999)}$."


def disguised(text: str, draw: random.Random) -> str:
    """The same problem in another dress: letter case, spacing, LaTeX, names of variables, a word or two changed."""
    text = re.sub(r"\bx\b", draw.choice("ntyz"), text)
    text = text.upper() if draw.random() < 0.3 else text.replace("$", "")
    text = re.sub(r" ", lambda _: " " * draw.randint(1, 3), text)
    return text.replace("Find", "Determine") if draw.random() < 0.5 else text + "\n"


def test_every_planted_repeat_is_found_and_nothing_else() -> None:
    draw = random.Random(1)
    held = [problem(draw) for _ in range(500)]
    train = [problem(draw) for _ in range(4000)]
    exact, near = range(0, 200, 2), range(1, 401, 2)
    for i, place in enumerate(exact):
        train[place] = held[i]
    for i, place in enumerate(near):
        train[place] = disguised(held[100 + i], draw)
    hits = list(Overlap(held, ngram=0).hits(train))
    assert [hits[place] for place in exact] == [Hit("exact", i, 1.0) for i in range(100)]
    found = [hit is not None and hit.other == 100 + i for i, hit in enumerate(hits[place] for place in near)]
    assert sum(found) >= 0.95 * len(found)
    rest = [hit for place, hit in enumerate(hits) if place not in exact and place not in near]
    assert sum(hit is not None for hit in rest) <= 0.001 * len(rest)


def test_a_shared_run_of_words_is_contamination_wherever_it_stands() -> None:
    held = ["How many positive divisors does the number 196 have in base ten, counted with care?"]
    inside = (
        "Here is a puzzle. " * 9 + "Tell me: how many positive divisors does the number 196 have in base ten? Thanks."
    )
    nine = "How many positive divisors does the number 196 have today"
    index = Overlap(held, near=0)
    assert [hit and hit.kind for hit in index.hits([inside, nine, held[0].upper(), ""])] == [
        "ngram",
        None,
        "exact",
        None,
    ]
    assert [hit and hit.kind for hit in Overlap(held, ngram=8, near=0).hits([nine])] == ["ngram"]


def test_near_repeats_of_one_template_are_all_found_however_many_there_are() -> None:
    def asked(n: int) -> str:
        rest = "How many apples does Ann keep if she eats none of them herself and nobody brings her any other fruit?"
        return f"Ann has {n} apples and gives three of them to Ben, who has none at all. {rest}"

    hits = list(Overlap(map(asked, range(200)), ngram=0).hits(map(asked, range(1000, 2024))))
    assert all(hit is not None and hit.kind == "near" for hit in hits)


def test_short_texts_must_be_equal() -> None:
    index = Overlap(["What is 2 + 3?"], ngram=10)
    assert [hit and hit.kind for hit in index.hits(["what is $2+3$", "What is 2 + 4?", "What is"])] == [
        "exact",
        None,
        None,
    ]


def test_empty_sets() -> None:
    assert list(Overlap([]).hits(["a b c", ""])) == [None, None]
    assert list(Overlap(["", "1 + 1"]).hits([])) == []
    assert repeats([]) == {} and repeats(["", ""]) == {}


def test_repeats_keep_the_first() -> None:
    draw = random.Random(2)
    texts = [problem(draw) for _ in range(300)]
    hits = repeats([*texts, texts[7].upper(), disguised(texts[9], draw), problem(draw)])
    assert set(hits) == {300, 301} and hits[300] == Hit("exact", 7, 1.0) and hits[301].other == 9


WORDS = st.lists(st.sampled_from(["one", "two", "three", "4", "5", "x", "+", "="]), min_size=0, max_size=25).map(
    " ".join
)


@settings(deadline=None, max_examples=100)
@given(held=st.lists(WORDS, max_size=4), text=WORDS)
def test_ngrams_are_found_exactly_when_they_are_there(held: list[str], text: str) -> None:
    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}

    expected = any(grams(text.split()) & grams(other.split()) or (text and text == other) for other in held)
    (hit,) = Overlap(held, ngram=4, near=0).hits([text])
    assert (hit is not None) == bool(expected)


def context(folder: Path) -> Context:
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    return Context(folder / "out", 0, folder / "scratch", console=Console(file=io.StringIO()))


def test_the_stage_drops_counts_and_shows(tmp_path: Path) -> None:
    draw = random.Random(3)
    held, train = [problem(draw) for _ in range(20)], [problem(draw) for _ in range(100)]
    train[3], train[50] = held[5], train[49]
    write_rows(tmp_path / "held", [{"id": f"h{i}", "prompt": text} for i, text in enumerate(held)])
    write_rows(tmp_path / "train", [{"id": f"t{i}", "prompt": text, "answer": str(i)} for i, text in enumerate(train)])
    ctx = context(tmp_path)
    made = clean(ctx, CleanConfig(), problems=Problems(tmp_path / "train"), against=[Problems(tmp_path / "held")])
    rows = read_rows(made)
    assert [row["id"] for row in rows] == [f"t{i}" for i in range(100) if i not in (3, 50)] and rows[0]["answer"] == "0"
    told = {"seen": 100, "kept": 98, "exact": 1, "ngram": 0, "near": 0, "repeat": 1, "against": 20}
    assert ctx.numbers == told
    dropped = json.loads((made.path / "dropped.json").read_text())
    assert [(e["why"], e["id"], e["of"]) for e in dropped["examples"]] == [
        ("exact", "t3", "h5"),
        ("repeat", "t50", None),
    ]


def test_samples_of_several_sets_and_nothing_left(tmp_path: Path) -> None:
    write_rows(tmp_path / "held", [{"id": "h", "prompt": "What is 2 + 3?"}])
    write_rows(tmp_path / "one", [{"id": "1", "prompt": "What is 2+3 ?", "completion": "5"}])
    write_rows(tmp_path / "two", [{"id": "2", "prompt": "What is 4?", "completion": "4", "kind": "chat"}])
    sets = [Samples(tmp_path / "one"), Samples(tmp_path / "two")]
    held = [Problems(tmp_path / "held")]
    (tmp_path / "a").mkdir()
    made = clean_samples(context(tmp_path / "a"), CleanConfig(), samples=sets, against=held)
    assert [row["id"] for row in read_rows(made)] == ["2"]
    (tmp_path / "b").mkdir()
    with pytest.raises(StageError, match="none of 1 rows is left: 1 exact"):
        clean_samples(context(tmp_path / "b"), CleanConfig(), samples=sets[:1], against=held)


def test_fields_that_the_evaluation_set_lacks_are_refused(tmp_path: Path) -> None:
    for name in ("held", "train"):
        write_rows(tmp_path / name, [{"id": "1", "prompt": "What is 2 + 3?", "completion": None}])
    held, train = Problems(tmp_path / "held"), Problems(tmp_path / "train")
    with pytest.raises(StageError, match="fields: no row of `against` has text in promt"):
        clean(context(tmp_path), CleanConfig(fields=("promt",)), problems=train, against=[held])
