"""Format, language, length, repetition: the values between their gold and junk cases."""

import pytest

from rewards.format import format
from rewards.language import language
from rewards.length import length
from rewards.repetition import repetition
from rollout.types import Sample


def say(completion: str, **fields) -> Sample:
    return Sample("q", completion, **fields)


def test_format_needs_every_tag_once_and_a_natural_end():
    good = "<think>a</think><answer>b</answer>"
    assert format(say(good)) == 1.0
    assert format(say(f"\n{good}\n")) == 1.0
    for bad in ("x" + good, good + good, good.replace("a", "<think>"), good.replace("b", " "), good + "</answer>", ""):
        assert format(say(bad)) == 0.0
    assert format(say(good, finish="length")) == 0.0


@pytest.mark.parametrize(
    ("n_tokens", "expected"), [(0, 0), (768, 0), (769, -1 / 256), (896, -0.5), (1024, -1), (1025, -1), (9999, -1)]
)
def test_length_is_dapos_soft_punishment(n_tokens, expected):
    assert length(say("", n_tokens=n_tokens), max_tokens=1024, slope_tokens=256) == pytest.approx(expected)


def test_length_without_a_slope_is_a_step():
    assert length(say("", n_tokens=10), max_tokens=10, slope_tokens=0) == 0.0
    assert length(say("", n_tokens=11), max_tokens=10, slope_tokens=0) == -1.0


def test_language_counts_words_of_the_thinking_only():
    assert language(say("<think>We add them.</think><answer>der die das und ist</answer>")) == 1.0
    assert language(say("<think>$x$ `der` \\frac 12 x_1</think><answer>a</answer>")) is None
    assert language(say("Plain text without any tags.")) == 1.0
    assert language(say("<think>It is 五.</think>")) == pytest.approx(2 / 3)
    assert language(say("<think>It is so. Das ist nicht die Antwort.</think>")) == pytest.approx(3 / 8)
    assert language(say("<think>Das ist nicht die Antwort.</think>"), target="de") == 1.0
    assert language(say("<think>これは答えです</think>"), target="ja") == 1.0
    assert language(say("<think>это ответ</think>"), target="ru") == 1.0


def test_language_is_quick_on_hostile_text():
    for text in ("a" * 200_000, "\\(" * 50_000, "$" * 100_000, "`" * 100_000, "<" * 100_000, "$a" * 50_000):
        language(say("<think>" + text))


def test_repetition_is_the_share_of_repeated_trigrams():
    assert repetition(say("")) == 0.0
    assert repetition(say("one two three four five")) == 0.0
    assert repetition(say("a b c a b c")) == pytest.approx(-0.25)
    assert repetition(say("x " * 1000)) == pytest.approx(1 / 998 - 1)
    assert repetition(say("a b a b"), n=2) == pytest.approx(-1 / 3)
