"""The bilingual sums: true steps, language as told, and one split for both wordings of a sum."""

from __future__ import annotations

import random

from pipelines.problems.bilingual import ENGLISH, GERMAN
from pipelines.problems.items import draw, draw_distinct, split_of
from rewards.language import count_words


def items(generators, n=300):
    return [item for item, _ in zip(draw(generators, random.Random(0)), range(n), strict=False)]


def formula(item):
    return item.prompt.removeprefix("Berechne ").removeprefix("Compute ").removesuffix(".")


def test_answers_and_every_step_are_true():
    for item in items(GERMAN) + items(ENGLISH):
        assert eval(formula(item)) == int(item.answer)
        for step in [word.strip(",") for word in item.work.split() if "=" in word]:
            left, right = step.split("=")
            assert eval(left) == int(right)


def test_the_language_reward_tells_the_two_apart():
    for item in items(GERMAN) + items(ENGLISH):
        counted = count_words(item.work, "de")
        german = item.work.startswith(("Wir", "Erst"))
        assert counted["other" if german else "target"] == 0 and counted.total() > 0


def test_half_of_the_german_questions_are_thought_about_in_german_and_no_english_one():
    def german(listed):
        return sum(item.work.startswith(("Wir", "Erst")) for item in listed) / len(listed)

    assert 0.4 < german(items(GERMAN)) < 0.6 and german(items(ENGLISH)) == 0


def test_a_sum_held_out_in_one_language_is_held_out_in_the_other():
    for item in draw_distinct(GERMAN, random.Random(0), "test", 100):
        assert split_of(f"Compute {formula(item)}.") == "test"
