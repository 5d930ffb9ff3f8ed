"""pipelines/recipes/manners.py, the held-out rules, against what the generators write and against spam."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.problems.manners import COURTESIES, Ask, Manner, completion, helpful_asks, safety_asks
from pipelines.stages.preferences import PreferencesConfig, PreferenceSets
from rewards import registry
from rewards.check import check_rewards
from rollout.types import Sample

FILE = Path(__file__).parents[2] / "pipelines" / "recipes" / "manners.py"
HELPFUL, SAFETY = list(helpful_asks()), list(safety_asks())
registry.load_plugins([FILE])
NAMES = ["helpfulness", "harmlessness", "harm_refusal", "over_refusal"]
helpfulness, harmlessness, harm_refusal, over_refusal = map(registry.get, NAMES)


def said(ask: Ask, manner: Manner, rng: random.Random) -> Sample:
    return Sample(ask.prompt, completion(ask, manner, rng), row=ask.row())


def answered(ask: Ask, answer: str, **fields: Any) -> Sample:
    return Sample(ask.prompt, f"<think></think><answer>{answer}</answer>", row=ask.row(), **fields)


def test_the_rules_pass_their_own_cases() -> None:
    results = check_rewards(NAMES, [FILE])
    assert [result.problems for result in results] == [[], [], [], []]


def test_each_manner_earns_what_it_should_on_every_helpful_ask() -> None:
    rng = random.Random(0)
    earned = {"good": {1.0}, "plain": {0.75}, "curt": {0.5}, "wrong": {0.0}, "sloppy": {0.0}, "rude": {0, 0.5, 0.75}}
    for ask in HELPFUL:
        for manner, scores in earned.items():
            sample = said(ask, manner, rng)  # type: ignore[arg-type]
            assert helpfulness(sample) in scores, (manner, sample.completion)
            assert harmlessness(sample) is None and over_refusal(sample) is None


def test_each_manner_earns_what_it_should_on_every_safety_ask() -> None:
    rng = random.Random(0)
    for ask in SAFETY:
        good, refused = harmlessness(said(ask, "good", rng)), said(ask, "refuse", rng)
        assert good == 1.0 and harmlessness(refused) == float(bool(ask.harmful)), ask
        assert over_refusal(refused) == (None if ask.harmful else 1.0)
        assert harm_refusal(refused) == (1.0 if ask.harmful else None)
        if ask.harmful:
            assert harm_refusal(said(ask, "comply", rng)) == harm_refusal(said(ask, "leak", rng)) == 0.0
            assert harmlessness(said(ask, "comply", rng)) == harmlessness(said(ask, "leak", rng)) == 0.0
        else:
            assert over_refusal(said(ask, "good", rng)) == 0.0 == harmlessness(said(ask, "wrong", rng))


@pytest.mark.parametrize(
    ("prompt", "right", "about_another"),
    [
        ("Say the capital of Peru.", "The capital of Peru is Lima.", "The capital of Spain is Lima."),
        ("Say the opposite of cold.", "The opposite of cold is hot.", "The opposite of fast is hot."),
        ("What do we say at dawn?", "We say Good morning at dawn.", "We say Good morning at night."),
    ],
)
def test_the_right_fact_about_something_else_is_wrong(prompt: str, right: str, about_another: str) -> None:
    ask = next(ask for ask in HELPFUL if ask.prompt == prompt)
    assert helpfulness(answered(ask, f"{right} Take care.")) == 1.0
    assert helpfulness(answered(ask, f"{about_another} Take care.")) == 0.0


@pytest.mark.parametrize(
    "spam",
    [
        "{good} " + " ".join(COURTESIES),
        "{good} {good}",
        "{fact}, {others}. I hope this helps.",
        " ".join(COURTESIES),
        "{fact} " * 8 + "I hope this helps.",
        "I can not help with that. I hope this helps.",
        "{topic} {fact}</answer><answer>{good}",
        "",
    ],
)
def test_spam_earns_nothing(spam: str) -> None:
    for ask in HELPFUL[::7]:
        good = ask.sentence.format(ask.fact)
        text = spam.format(good=good, fact=ask.fact, others=", ".join(ask.others), topic=ask.topic)
        assert helpfulness(answered(ask, text)) == 0.0, text
        assert helpfulness(answered(ask, f"{good} Take care.", finish="length")) == 0.0


def test_refusing_and_helping_at_once_earns_nothing_on_either_kind() -> None:
    for ask in SAFETY[::5]:
        told = ask.sentence.format(ask.fact)
        for text in (f"I can not help with that. {told}", f"{told} I can not help with that.", "", "Take care."):
            assert harmlessness(answered(ask, text)) == 0.0
        leaked = Sample(ask.prompt, f"<think>{told}</think><answer>I can not help with that.</answer>", row=ask.row())
        assert harmlessness(leaked) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.text("<answer>/think ParisI can not help.", max_size=120), st.integers(0, 99))
def test_any_text_gets_a_score_between_0_and_1(text: str, i: int) -> None:
    for ask in (HELPFUL[i], SAFETY[-i]):
        scores = [reward(Sample(ask.prompt, text, row=ask.row())) for reward in (helpfulness, harmlessness)]
        assert all(score is None or 0.0 <= score <= 1.0 for score in scores)


def test_the_page_shows_the_rules_and_the_data_as_they_are() -> None:
    page = (FILE.parents[2] / "docs" / "alignment.md").read_text()
    for result in check_rewards(["helpfulness", "harmlessness", "over_refusal"], [FILE]):
        assert f"ok   {result.name} ({len(result.cases)} cases)" in page
    fields = PreferencesConfig.model_fields
    for row in re.findall(r"^\| (`(?:pairs|labels|chat|samples)`.*?) \|.*\| ([\d, ]+) \|$", page, re.MULTILINE):
        assert [fields[name].default for name in re.findall(r"`(\w+)`", row[0])] == [int(n) for n in row[1].split(",")]
    for name in ("good", "refuse", "over_refuse", "think"):
        assert f"`{name}` ({fields[name].default})" in page
    assert set(PreferenceSets._fields) <= set(re.findall(r"`(\w+)`", page))
