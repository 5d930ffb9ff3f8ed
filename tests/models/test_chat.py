"""The tokenizer and the template: nothing of a completion may be lost between text and ids."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chat import render_prompt, render_sample
from models.tokenizer import MARKERS, train_tokenizer
from pipelines.problems.corpus import corpus


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(map("".join, itertools.islice(corpus(0), 2000)))


ROW = {"prompt": "Compute 2+3.", "completion": "<think>2+3=5</think><answer>5</answer>"}


def test_markers_are_single_tokens(tokenizer):
    assert [len(tokenizer.encode(marker)) for marker in MARKERS] == [1, 1, 1, 1]


def test_numbers_below_200_are_single_tokens(tokenizer):
    assert all(tokenizer.tokenize(str(n)) == [str(n)] for n in range(200))


def test_thinking_survives_rendering_and_decoding(tokenizer):
    prompt, completion = render_sample(tokenizer, ROW)
    assert tokenizer.decode(completion, skip_special_tokens=True) == ROW["completion"]
    assert tokenizer.decode(prompt) == "<|bos|><|user|>Compute 2+3.<|assistant|>"
    assert completion[-1] == tokenizer.eos_token_id


def test_template_keeps_the_thinking_of_a_whole_conversation(tokenizer):
    turns = [{"role": "user", "content": ROW["prompt"]}, {"role": "assistant", "content": ROW["completion"]}]
    ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
    prompt, completion = render_sample(tokenizer, ROW)
    assert list(ids) == prompt + completion


def test_a_system_text_goes_before_the_user(tokenizer):
    ids = render_prompt(tokenizer, {**ROW, "system": "Be brief."})
    assert tokenizer.decode(ids) == "<|bos|><|system|>Be brief.<|user|>Compute 2+3.<|assistant|>"


def test_plain_prompt_has_no_chat_tokens(tokenizer):
    assert tokenizer.decode(render_prompt(tokenizer, ROW, "plain")) == "<|bos|>Problem: Compute 2+3.\n"


def test_chat_without_a_template_is_refused(tokenizer):
    bare = train_tokenizer(["a b"], vocab_size=270)
    bare.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        render_prompt(bare, ROW)


@given(text=st.text(max_size=60))
def test_any_text_round_trips(tokenizer, text):
    if any(mark in text for mark in tokenizer.all_special_tokens):
        return
    assert tokenizer.decode(tokenizer.encode(text)) == text
