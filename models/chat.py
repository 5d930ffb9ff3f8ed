"""From a row to token ids: the one place where prompts and completions meet a chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE = "<think>", "</think>", "<answer>", "</answer>"

Template = Literal["chat", "plain"]
"""`chat`: the tokenizer's own template. `plain`: text a base model can continue, as R1-Zero's (2501.12948, Table 1)."""

PLAIN_PROMPT = "Problem: {prompt}\n"


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
