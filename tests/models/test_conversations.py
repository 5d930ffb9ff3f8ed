"""Conversations: the loss sees an answer's tokens only, in the context that the model has when it is asked."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st

from models.chat import (
    ChatError,
    answer_of,
    asked,
    messages,
    one_form,
    questions,
    render_prompt,
    samples_of,
    shown,
    spoken,
)
from models.checkpoint import load_tokenizer
from models.tiny import TINY_BASE
from sft.data import IGNORE, encode

# Qwen's way of speaking, written down here: it strips the thinking of every answer but a last one by itself.
CHATML = """
{%- for message in messages -%}
{%- set content = message.content -%}
{%- if message.role == 'assistant' and not loop.last and '</think>' in content -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


QWEN3 = (Path(trl.__file__).parent / "chat_templates/qwen3.jinja").read_text()
KEEPING = CHATML.replace("and not loop.last", "and false")


@cache
def tokenizer_of(name: str) -> Any:
    """The house's tokenizer and template, or another template on it, with that one's special tokens."""
    if name == "house":
        return load_tokenizer(TINY_BASE)
    tokenizer = copy.deepcopy(tokenizer_of("house"))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = {"chatml": CHATML, "qwen3": QWEN3, "keeping": KEEPING}[name]
    return tokenizer


words = st.text(st.characters(exclude_characters="<|", exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda text: text.strip() or "x"
)
answers = st.builds(
    lambda thought, gap, said: f"<think>{thought}</think>{gap}{said}",
    words | st.just(""),
    st.sampled_from(["", "\n", "\n\n"]),
    words.map(lambda said: f"<answer>{said}</answer>") | words,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    """1 to 4 questions with answers, thinking in most of them, and a system text in half."""
    system = draw(st.none() | words)
    turns = [{"role": "system", "content": system}] if system else []
    for _ in range(draw(st.integers(1, 4))):
        answer = draw(answers | words)
        turns += [{"role": "user", "content": draw(words)}, {"role": "assistant", "content": answer}]
    return turns


@pytest.mark.parametrize("name", ["house", "chatml", "qwen3", "keeping"])
@settings(max_examples=60, deadline=None)
@given(turns=conversations())
def test_every_answer_is_learnt_in_the_context_that_inference_gives(name: str, turns: list[dict[str, str]]) -> None:
    tokenizer = tokenizer_of(name)
    data = encode(tokenizer, [{"messages": turns}], max_length=10_000)
    places = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    assert len(data.input_ids) == len(places)
    for i, ids, labels in zip(places, data.input_ids, data.labels, strict=True):
        learnt = [label for label in labels if label != IGNORE]
        assert tokenizer.decode(learnt) == turns[i]["content"] + tokenizer.eos_token
        prompt = ids[: -len(learnt)]
        assert labels == [IGNORE] * len(prompt) + learnt and ids == prompt + learnt
        # What a chat client sends: every turn as it was written, thinking included.
        assert prompt == render_prompt(tokenizer, {"messages": turns[:i]})
        # What a server makes of it, which knows nothing but the model's own template.
        if name == "keeping":  # such a template would show the model what r1 has taken out
            assert "</think>" not in tokenizer.decode(prompt)
            continue
        served = tokenizer.apply_chat_template(
            turns[:i], add_generation_prompt=True, tokenize=True, return_dict=True, enable_thinking=True
        )
        assert prompt == list(served["input_ids"])


@settings(max_examples=60, deadline=None)
@given(turns=conversations())
def test_the_house_template_marks_the_same_tokens_as_the_assistants(turns: list[dict[str, str]]) -> None:
    tokenizer = tokenizer_of("house")
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    data = encode(tokenizer, [{"messages": turns}], max_length=10_000)
    assert list(whole["input_ids"]) == data.input_ids[-1]
    last = sum(label != IGNORE for label in data.labels[-1])
    assert list(whole["assistant_masks"])[-last:] == [1] * last and not whole["assistant_masks"][-last - 1]


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Compute 2+3."},
    {"role": "assistant", "content": "<think>2+3=5</think><answer>5</answer>"},
    {"role": "user", "content": "Double it."},
]
LAST = {"role": "assistant", "content": "<think>5*2=10</think><answer>10</answer>"}


def test_earlier_thinking_is_gone_and_the_tags_of_the_answer_stay() -> None:
    text = tokenizer_of("house").decode(render_prompt(tokenizer_of("house"), {"messages": CHAT}))
    assert text == (
        "<|bos|><|system|>Be brief.<|user|>Compute 2+3.<|assistant|><answer>5</answer><|eos|>"
        "<|user|>Double it.<|assistant|>"
    )


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>a</think>\n\nb", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("b<think>never ends", "b"),
        ("opened by the prompt</think>b", "b"),
        ("no thinking", "no thinking"),
    ],
)
def test_what_is_left_of_an_answer(answer: str, left: str) -> None:
    assert spoken(answer) == left


def test_with_a_completion_only_the_completion_is_learnt() -> None:
    row = {"messages": CHAT, "completion": "<answer>10</answer>"}
    assert samples_of(row) == [row]
    assert len(samples_of({"messages": [*CHAT, LAST]})) == 2
    assert [answer_of(row), answer_of({"messages": [*CHAT, LAST]}), answer_of({"messages": CHAT})] == [
        "<answer>10</answer>",
        LAST["content"],
        None,
    ]


def test_one_form_says_the_last_question_and_keeps_only_true_conversations() -> None:
    assert one_form({"id": "a", "messages": CHAT[:2]}) == {"id": "a", "prompt": "Compute 2+3.", "system": "Be brief."}
    kept = one_form({"messages": CHAT, "system": "Be brief."})
    assert kept == {"prompt": "Double it.", "system": "Be brief.", "messages": CHAT}
    assert one_form(kept) == kept
    assert one_form({"prompt": "x", "messages": None}) == {"prompt": "x"}


def test_what_a_conversation_asks_is_all_of_it_without_thinking_and_system() -> None:
    row = {"messages": CHAT}
    assert asked(row) == "Compute 2+3.\n<answer>5</answer>\nDouble it." == asked({"messages": [*CHAT, LAST]})
    assert questions(row) == [asked(row), "Compute 2+3.", "Double it."]
    assert questions({"prompt": "Compute 2+3.", "system": "Be brief."}) == ["Compute 2+3."]


def test_a_reader_sees_who_speaks() -> None:
    assert shown({"messages": CHAT}).splitlines() == [
        "[system] Be brief.",
        "[user] Compute 2+3.",
        "[assistant] <answer>5</answer>",
        "[user] Double it.",
    ]
    assert shown({"prompt": "Hi"}) == "Hi" and shown({}) == ""


def test_the_plain_template_writes_the_turns_one_after_the_other() -> None:
    ids = render_prompt(tokenizer_of("house"), {"messages": CHAT}, "plain")
    assert tokenizer_of("house").decode(ids) == (
        "<|bos|>Be brief.\nProblem: Compute 2+3.\n<answer>5</answer>\nProblem: Double it.\n"
    )


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ("hello", "must be a list of {role, content}"),
        ([{"role": "tool", "content": "x"}], "must be a list of {role, content}"),
        ([{"role": "user", "content": None}], "must be a list of {role, content}"),
        ([{"role": "system", "content": "x"}], "must go user, assistant, user, ... .* not system"),
        ([CHAT[1], CHAT[3]], "must go user, assistant, user, ... .* not user, user"),
        ([CHAT[1], CHAT[0], CHAT[3]], "must go user, assistant"),
        ([LAST], "must go user, assistant"),
        ([CHAT[1], LAST], "must end with a user's turn"),
    ],
)
def test_what_is_no_conversation_is_one_line(turns: Any, why: str) -> None:
    with pytest.raises(ChatError, match=f"^row 7: messages {why}"):
        messages({"id": "7", "messages": turns})


def test_a_prompt_that_says_another_thing_is_refused() -> None:
    with pytest.raises(ChatError, match="prompt is not what messages says"):
        one_form({"messages": CHAT, "prompt": "Halve it."})
    with pytest.raises(ChatError, match="system is not what messages says"):
        one_form({"messages": CHAT, "system": "Be long."})
    with pytest.raises(ChatError, match="neither a prompt nor messages"):
        messages({})
