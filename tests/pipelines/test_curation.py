"""The funnel of rejection sampling: each filter on its own, their order, what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.curation import Filters, curate, language_share, longest_paragraph, repetition, thinking


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
    open_wide = Filters(keep="all", min_language=0, max_paragraph=0, drop_code=False, max_repetition=1)
    rows = [row(LOOP, correct=False), row(answer("两 ```x```"), correct=None), row(answer("so " * 3000))]
    assert len(curate(rows, open_wide)[0]) == 3


def test_the_funnel_adds_up() -> None:
    rows = [row(GOOD), row(GOOD + "\n"), row(GOOD, correct=False), row(LOOP), row(answer("so it is"), finish="length")]
    rows += [row(answer(f"now {n} is the sum"), id="p2", prompt="Add.") for n in ("one", "two", "six")]
    kept, funnel = curate(rows, Filters(cap=2))
    assert funnel["input"] - sum(step["dropped"] for step in funnel["filters"]) == funnel["kept"] == len(kept) == 3
    counts = {step["name"]: step["dropped"] for step in funnel["filters"] if step["dropped"]}
    assert counts == {"unfinished": 1, "wrong": 1, "repetition": 1, "duplicate": 1, "over the cap": 1}
    assert (funnel["problems"], funnel["problems_kept"]) == (2, 2)
    assert [(one["id"], one["rank"]) for one in kept] == [("p1", 0), ("p2", 0), ("p2", 1)]


def test_the_same_text_for_another_problem_is_no_duplicate() -> None:
    assert len(curate([row(GOOD), row(GOOD, id="p2")], Filters())[0]) == 2


def test_keep_decides_which_come_first() -> None:
    rows = [
        row(answer("so the sum is right here"), n_tokens=9, reward=1.0),
        row(answer("now the sum is right"), n_tokens=5, reward=1.1),
        row(answer("all is wrong"), n_tokens=1, reward=2.0, correct=False),
        row(answer("then it is the sum"), n_tokens=7, reward=None),
    ]
    tokens = {keep: [r["n_tokens"] for r in curate(rows, Filters(keep=keep, cap=2))[0]] for keep in _KEEPS}
    assert tokens == {"correct": [9, 5], "best": [5, 9], "shortest": [5, 7], "all": [9, 5]}


_KEEPS = ("correct", "best", "shortest", "all")


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
