"""From a row to token ids: the one place where prompts and completions meet a chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE = "<think>", "</think>", "<answer>", "</answer>"

Template = Literal["chat", "plain"]
"""`chat`: the tokenizer's own template. `plain`: text a base model can continue, as R1-Zero's (2501.12948, Table 1)."""

PLAIN_PROMPT = "Problem: {prompt}\n"

Judges = Literal["answer", "whole"]
"""What a reward model sees of a completion. `answer`: the text between the answer tags, the thinking cut out; R1's
helpful model. `whole`: thinking and answer; R1's safety model (2501.12948v2, section on general rewards)."""

TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
_SHAPE = re.compile(rf"\s*{THINK_OPEN}.*{THINK_CLOSE}\s*{ANSWER_OPEN}(.*){ANSWER_CLOSE}\s*", re.DOTALL)


def messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns before the assistant's: an optional system text and the user's prompt."""
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return [*system, {"role": "user", "content": row["prompt"]}]


def render_prompt(tokenizer: Any, row: Mapping[str, Any], template: Template = "chat") -> list[int]:
    """Token ids of the prompt up to where the model begins to write.

    Raises ValueError when `chat` is asked for and the tokenizer has no chat template.
    """
    if template == "plain":
        bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        return bos + list(tokenizer.encode(PLAIN_PROMPT.format(prompt=row["prompt"]), add_special_tokens=False))
    if not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template: use `template: plain` or add a chat_template.jinja")
    ids = tokenizer.apply_chat_template(messages(row), add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(ids["input_ids"])


def render_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion with the end-of-sequence token it must learn to write."""
    return [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]


def render_sample(tokenizer: Any, row: Mapping[str, Any], template: Template = "chat") -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of a Samples row; the loss belongs to the completion alone.

    The completion is appended to the rendered prompt as it is: no template gets the chance to strip its thinking.
    """
    return render_prompt(tokenizer, row, template), render_completion(tokenizer, row["completion"])


def final_answer(completion: str) -> str | None:
    """The text between the answer tags of `<think>...</think><answer>...</answer>`, stripped.

    None where the completion has another shape or its answer is empty: there is nothing to judge then.
    """
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    shape = _SHAPE.fullmatch(completion)
    return shape[1].strip() or None if shape else None


def judged_text(completion: str, judges: Judges) -> str | None:
    """What a reward model is shown of a completion that ended by itself; None where there is nothing to judge."""
    return final_answer(completion) if judges == "answer" else completion.strip() or None


def render_judged(tokenizer: Any, row: Mapping[str, Any], text: str, template: Template = "chat") -> list[int]:
    """Token ids a reward model reads: the prompt, the judged text as the assistant's turn, the end token.

    The score is taken at the end token. A control token spelled out in `text` stays text: what is judged cannot end
    its turn, nor speak as the user.
    """
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return [*render_prompt(tokenizer, row, template), *ids, tokenizer.eos_token_id]
