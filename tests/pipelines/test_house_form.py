"""The rule that puts a solution in any hand into the house's form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chat import final_answer
from pipelines.curation import thinking
from pipelines.house_form import house_form
from rewards.math.extract import extract

HOUSE = "<think>12+30=42</think><answer>42</answer>"


@pytest.mark.parametrize(
    ("text", "formed"),
    [
        (HOUSE, HOUSE),
        ("Work: 12+30=42\nAnswer: 42\n", HOUSE),
        ("12+30=42", HOUSE),
        ("12+30=42. So 42", "<think>12+30=42.</think><answer>42</answer>"),
        (r"We add: 12+30=42. Thus the answer is $\boxed{42}$.", "<think>We add: 12+30=42.</think><answer>42</answer>"),
        ("Janet adds.\n\nIt is 42.\n#### 42", "<think>Janet adds.\n\nIt is 42.</think><answer>42</answer>"),
        ("Answer: 42", "<think></think><answer>42</answer>"),
        (
            "The sum 12+30 is 42.\n\\boxed{42}\nThat took 142 steps.",
            "<think>The sum 12+30 is 42.</think><answer>42</answer>",
        ),
        ("12+30=42\nAnswer: 42\n(checked: 42-30=12, and 142 is not it)", HOUSE),
        ("<think>\n12+30=42\n</think>\n\nIt is **42**.", "<think>12+30=42</think><answer>It is **42**.</answer>"),
        ("12+30=42</think>42", HOUSE),  # the prompt had opened it
        ("12+30=42\n<answer>42</answer>", HOUSE),
    ],
)
def test_what_each_hand_becomes(text: str, formed: str) -> None:
    assert house_form(text) == formed


@pytest.mark.parametrize(
    "text", ["", "I do not know.", "<think>12+30", "<think>a</think>", "<think>a</think><answer>1</answer><answer>2"]
)
def test_what_no_rule_can_cut_stays_as_it_is(text: str) -> None:
    assert house_form(text) == text and final_answer(house_form(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Work: b=1, 9-1=8\nAnswer: ```python\ndef f(x):\n    return x+1\n```\n",
        "Work: b=1, 9-1=8\nAnswer: def f(x):\n    return x+1\n",
        "b=1, 9-1=8\n\n```python\nprint(1)\n```\nNo:\n```python\ndef f(x):\n    return x+1\n```\n",
    ],
)
def test_a_program_is_an_answer_in_a_fence(text: str) -> None:
    formed = house_form(text, code=True)
    assert formed.endswith("</think><answer>\n```python\ndef f(x):\n    return x+1\n```\n</answer>")
    assert str(thinking(formed)).startswith("b=1, 9-1=8") and "Answer" not in formed


@given(text=st.text(st.sampled_from("<think>/answer 12=+.\n#$\\boxed{}:So"), max_size=80), code=st.booleans())
def test_the_form_is_whole_or_the_text_is_untouched(text: str, code: bool) -> None:
    formed = house_form(text, code=code)
    assert formed == text or final_answer(formed) is not None
    assert house_form(formed, code=code) == formed


def test_the_answer_that_math_reads_stays_the_same() -> None:
    stated, boxed = "Work: 2*3=6, 6+1=7\nAnswer: 7\n", r"So $x=\frac{1}{2}$, hence \boxed{\frac{1}{2}}"
    for text in (stated, boxed, "It is 3 + 4 = 7."):
        assert extract(house_form(text)) == extract(text)


def test_a_long_text_takes_no_time() -> None:
    for text in (
        " \n" * 50_000 + "1",
        "```\n" * 50_000,
        "the answer is " * 2_000,
        "<think>" * 20_000 + "</answer>",
        "is 1 " * 20_000,
    ):
        house_form(text), house_form(text, code=True)
