"""The funnel of rejection sampling: each filter on its own, their order, what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.curation import Filters, curate, language_share, longest_paragraph, repetition, thinking
from pipelines.funnel import tally, total


def row(completion: str, **fields: Any) -> dict[str, Any]:
    usual = {"id": "p1", "prompt": "What is the sum of 7 and 5?", "finish": "stop", "n_tokens": len(completion)}
    return {**usual, "completion": completion, "correct": True, "reward": 1.0, **fields}


def answer(think: str, said: str = "12") -> str:
    return f"<think>{think}</think><answer>{said}</answer>"


GOOD = answer("We add the two numbers and check that the sum is right.")
LOOP = answer("wait, let me check that once more. " * 12)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("unfinished", row(GOOD, finish="length")),
        ("unfinished", row("<think>7 + 5 is")),
        ("not graded", row(GOOD, correct=None)),
        ("wrong", row(GOOD, correct=False)),
        ("too long", row(GOOD, n_tokens=1000)),
        ("mixed language", row(answer("We add 两个数字相加得到十二 and so it is twelve."))),
        ("mixed language", row(answer("Wir addieren die beiden Zahlen und das ist die Summe."))),
        ("long paragraph", row(answer("so " * 200))),
        ("code in thinking", row(answer("Let us run it: ```python\n7 + 5\n``` and see."))),
        ("repetition", row(LOOP)),
        ("repetition", row(answer("1" * 40))),
    ],
)
def test_each_filter_drops_what_it_is_for(name: str, bad: dict[str, Any]) -> None:
    kept, funnel = curate([row(GOOD), bad], Filters(max_kept_tokens=900, max_paragraph=500))
    assert [one["completion"] for one in kept] == [GOOD]
    assert {step["name"]: step["dropped"] for step in funnel["filters"] if step["dropped"]} == {name: 1}
    assert next(s for s in funnel["filters"] if s["dropped"])["examples"] == [
        f"{bad['prompt']}\n{bad['completion']}"[:600]
    ]


def test_every_filter_can_be_switched_off() -> None:
    open_wide = Filters(
        keep="all", cap=0, min_language=0, max_paragraph=0, drop_code=False, max_repetition=1, near_duplicate=0
    )
    rows = [row(LOOP, correct=False), row(answer("两 ```x```"), correct=None), row(answer("so " * 3000))]
    assert len(curate(rows, open_wide)[0]) == 3


def test_the_funnel_adds_up() -> None:
    rows = [row(GOOD), row(GOOD + "\n"), row(GOOD, correct=False), row(LOOP), row(answer("so it is"), finish="length")]
    rows += [row(answer(f"now {n} is the sum"), id="p2", prompt="Add.") for n in ("one", "two", "six")]
    kept, funnel = curate(rows, Filters(cap=2))
    whole = total([funnel], tally(rows, kept))
    assert funnel["input"] - sum(step["dropped"] for step in funnel["filters"]) == funnel["kept"] == len(kept) == 3
    counts = {step["name"]: step["dropped"] for step in funnel["filters"] if step["dropped"]}
    assert counts == {"unfinished": 1, "wrong": 1, "repetition": 1, "duplicate": 1, "over the cap": 1}
    assert (whole["problems"], whole["problems_kept"]) == (2, 2)
    assert [(one["id"], one["rank"]) for one in kept] == [("p1", 0), ("p2", 0), ("p2", 1)]


def test_the_same_text_for_another_problem_is_no_duplicate() -> None:
    assert len(curate([row(GOOD), row(GOOD, id="p2")], Filters())[0]) == 2


def test_select_decides_which_come_first() -> None:
    rows = [
        row(answer("so the sum is right here"), n_tokens=9, reward=1.0),
        row(answer("now the sum is right"), n_tokens=5, reward=1.1),
        row(answer("all is wrong"), n_tokens=1, reward=2.0, correct=False),
        row(answer("then it is the sum"), n_tokens=7, reward=None),
    ]
    tokens = {
        how: [r["n_tokens"] for r in curate(rows, Filters(select=how, cap=2))[0]] for how in ("all", "best", "shortest")
    }
    assert tokens == {"all": [9, 5], "best": [5, 9], "shortest": [5, 7]}
    assert [r["n_tokens"] for r in curate(rows, Filters(keep="all", cap=3))[0]] == [9, 5, 1]


def test_diverse_takes_the_completion_most_unlike_those_it_has() -> None:
    said = ("we add seven and five to get twelve", "we add seven and five to get that twelve is the sum",
            "count up from seven: eight nine ten eleven twelve", "we add seven and five so we get twelve")  # fmt: skip
    rows = [row(answer(text), sample=i) for i, text in enumerate(said)]
    kept, _ = curate(rows, Filters(select="diverse", cap=2))
    assert [(one["sample"], one["rank"]) for one in kept] == [(0, 0), (2, 1)]


def test_near_duplicates_are_counted_apart_from_equal_ones() -> None:
    words = " ".join(
        a + b for a in "bcdfghkl" for b in ("ander", "eeping", "oosing", "arking", "itted", "ending", "usted")
    )
    rows = [row(answer(words)), row(answer(words)), row(answer(words + " now")), row(answer("so that is the sum"))]
    kept, funnel = curate(rows, Filters())
    counts = {step["name"]: step["dropped"] for step in funnel["filters"] if step["dropped"]}
    assert len(kept) == 2 and counts == {"duplicate": 1, "near duplicate": 1}
    assert len(curate(rows, Filters(near_duplicate=0))[0]) == 3


@pytest.mark.parametrize(
    ("band", "left"), [((0.0, 1.0), {"a", "b", "c"}), ((0.25, 0.75), {"b"}), ((0.5, 1.0), {"b", "c"})]
)
def test_a_band_keeps_problems_that_are_solved_sometimes(band: tuple[float, float], left: set[str]) -> None:
    rows = [
        row(answer(f"we see that {word} is the sum"), id=id, correct=i < right)
        for id, right in (("a", 1), ("b", 4), ("c", 8))
        for i, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight"))
    ]
    kept, funnel = curate(rows, Filters(pass_rate=band, near_duplicate=0))
    assert {one["id"] for one in kept} == left
    assert {one["id"]: one["pass_rate"] for one in kept} == {
        id: rate for id, rate in (("a", 0.125), ("b", 0.5), ("c", 1.0)) if id in left
    }
    assert funnel["input"] - sum(step["dropped"] for step in funnel["filters"]) == len(kept)


def test_a_band_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pass_rate \[0.9, 0.1\] is no band"):
        Filters(pass_rate=(0.9, 0.1))


def test_what_repeats_an_evaluation_row_is_dropped() -> None:
    leak = answer("so it is right")
    kept, funnel = curate([row(leak), row(GOOD)], Filters(), lambda texts: [text == leak for text in texts])
    assert [one["completion"] for one in kept] == [GOOD]
    assert next(s for s in funnel["filters"] if s["name"] == "contaminated")["dropped"] == 1


def test_thinking_ends_or_is_none() -> None:
    assert thinking("<think>a\nb</think><answer>1</answer>") == "a\nb"
    assert thinking("a</think>1") == "a"
    assert thinking("Work: 7 + 5\nAnswer: 12") == "Work: 7 + 5\nAnswer: 12"
    assert thinking("<think>and so on") is None


def test_language_follows_the_prompt_unless_told() -> None:
    chinese = "我们把两个数相加"
    assert language_share(chinese, "七加五等于多少？") == 1.0
    assert language_share(chinese, "What is the sum?") == 0.0
    assert language_share(chinese, "What is the sum?", "zh") == 1.0
    assert language_share("3*4=12, 12+x=20", "七加五") == 1.0  # no words, nothing to judge


def test_paragraphs_end_at_empty_lines() -> None:
    assert longest_paragraph("abc\n \ndefgh\nij") == 8
    assert longest_paragraph("") == 0


def test_repetition_sees_loops_and_leaves_arithmetic_alone() -> None:
    assert repetition("3*2=6, 1*8=8, 6+8=14, 8*2=16, so 14/16 is 7/8 in lowest terms.") < 0.1
    assert repetition("the sum is 12. " * 20) > 0.9
    assert repetition("两个数相加等于十二。" * 20) > 0.8
    assert repetition("yes yes yes") == 0.0  # too short to be a loop
    assert repetition("-" * 32) == 1.0


def test_a_sample_without_thoughts_goes_where_thinking_is_asked_for() -> None:
    bare, worked = row("<think></think><answer>5</answer>"), row("<think>2+3=5</think><answer>5</answer>")
    kept, funnel = curate([bare, worked], Filters(min_thinking=3))
    assert [one["completion"] for one in kept] == [worked["completion"]]
    assert {step["name"]: step["dropped"] for step in funnel["filters"]}["too little thinking"] == 1
