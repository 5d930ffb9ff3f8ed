"""From a row to token ids: the one place where prompts and completions meet a chat template.

A row asks with `prompt` (and `system`), or with a whole conversation in `messages`: a list of {role, content}, system
first if at all, then user and assistant in turn. `docs/data.md` shows rows of every kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE = "<think>", "</think>", "<answer>", "</answer>"

Template = Literal["chat", "plain"]
"""`chat`: the tokenizer's own template. `plain`: text a base model can continue, as R1-Zero's (2501.12948, Table 1)."""

Turn = dict[str, str]
"""{"role": system, user or assistant, "content": text}."""

PLAIN_PROMPT = "Problem: {prompt}\n"

Judges = Literal["answer", "whole"]
"""What a reward model sees of a completion. `answer`: the text between the answer tags, the thinking cut out; R1's
helpful model. `whole`: thinking and answer; R1's safety model (2501.12948v2)."""

TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
_SHAPE = re.compile(rf"\s*{THINK_OPEN}.*{THINK_CLOSE}\s*{ANSWER_OPEN}(.*){ANSWER_CLOSE}\s*", re.DOTALL)


class ChatError(ValueError):
    """A row that cannot be rendered; the message is one line for the user."""


def messages(row: Mapping[str, Any]) -> list[Turn]:
    """The turns before the completion: an optional system text, then user and assistant in turn, a user last.

    Earlier answers come without their thinking (`spoken`), as in R1's own template. ChatError where the turns are no
    conversation that waits for an answer.
    """
    turns = _turns(row)
    if not turns or turns[-1]["role"] != "user":
        raise ChatError(f"{_named(row)}messages must end with a user's turn, which the completion answers")
    return _without_thinking(turns)


def spoken(answer: str) -> str:
    """An assistant's turn as later turns see it: what follows its thinking, without white space at either end.

    R1's template keeps what follows `</think>`; so do we, `<answer>` tags included: they are part of what was said. Of
    thinking that never ends nothing is left.
    """
    return answer.rpartition(THINK_CLOSE)[2].partition(THINK_OPEN)[0].strip()


def samples_of(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The samples that a Samples row stands for, each with a `completion` and the context that it is written in.

    With a `completion` that is the row itself. Without one, `messages` is a whole conversation, and every assistant's
    turn becomes a sample: its context has lost the thinking of earlier turns, while its own thinking is learnt. One
    long sample could not hold both, and it would teach answers in a context that no prompt ever has.
    """
    if row.get("completion") is not None:
        return [row]
    turns = _turns(row)
    if not turns or turns[-1]["role"] != "assistant":
        raise ChatError(f"{_named(row)}neither a completion nor messages that end with an assistant's turn")
    about = {key: value for key, value in row.items() if key != "prompt"}
    answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    return [{**about, "messages": turns[:i], "completion": turns[i]["content"]} for i in answers]


def answer_of(row: Mapping[str, Any]) -> str | None:
    """A row's completion, or the last answer of a whole conversation; None where there is none."""
    if row.get("completion") is not None or not row.get("messages"):
        return row.get("completion")
    last = _turns(row)[-1]
    return last["content"] if last["role"] == "assistant" else None


def one_form(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as the stages keep it: `prompt` is what the user said last, `system` the system text or None.

    `messages` stays where there is more than one question and, in a Samples row, where it holds the completion too.
    ChatError where it is no conversation, or where `prompt` or `system` say another thing than it does.
    """
    kept = {key: value for key, value in row.items() if key != "messages"}
    if not row.get("messages"):
        return kept
    turns = _turns(row)
    system = turns[0]["content"] if turns[0]["role"] == "system" else None
    prompt = [turn["content"] for turn in turns if turn["role"] == "user"][-1]
    for name, said in (("prompt", prompt), ("system", system)):
        if row.get(name) not in (None, said):
            raise ChatError(f"{_named(row)}{name} is not what messages says: leave one of them out")
    single = [turn["role"] for turn in turns if turn["role"] != "system"] == ["user"]
    return {**kept, "prompt": prompt, "system": system} | ({} if single else {"messages": turns})


def asked(row: Mapping[str, Any]) -> str:
    """All that a row asks, as one text to hash and to compare: the prompt, or a conversation's turns up to the last
    user's, without thinking. The system text is left out: rows that share a long one would all look alike."""
    if not row.get("messages"):
        return str(row["prompt"])
    return "\n".join(turn["content"] for turn in _context(row) if turn["role"] != "system")


def questions(row: Mapping[str, Any]) -> list[str]:
    """The texts by which a row may repeat another one: all that it asks, then each of several questions alone."""
    users = [turn["content"] for turn in _context(row) if turn["role"] == "user"] if row.get("messages") else []
    return [asked(row), *(users if len(users) > 1 else [])]


def shown(row: Mapping[str, Any]) -> str:
    """What a row asks, for a reader: the bare prompt, or a line with its speaker for every turn."""
    try:
        turns = _context(row)
    except ChatError:
        return str(row.get("prompt") or "")
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"[{turn['role']}] {turn['content']}" for turn in turns)


def render_prompt(tokenizer: Any, row: Mapping[str, Any], template: Template = "chat") -> list[int]:
    """Token ids of the prompt up to where the model begins to write.

    A row with `raw` True is no conversation but the beginning of a text, in whatever template. ChatError when `chat` is
    asked for and the tokenizer has no chat template, or when the row is no conversation.
    """
    if row.get("raw") is True:
        return list(tokenizer.encode(row["prompt"]))  # with the marks that this tokenizer puts before any text
    turns = messages(row)
    if template == "plain":
        bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        return bos + list(tokenizer.encode("".join(map(_plain, turns)), add_special_tokens=False))
    if not tokenizer.chat_template:
        raise ChatError("the tokenizer has no chat template: use `template: plain` or add a chat_template.jinja")
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(ids["input_ids"])


def render_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion with the end-of-sequence token it must learn to write."""
    return [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]


def render_sample(tokenizer: Any, row: Mapping[str, Any], template: Template = "chat") -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of a Samples row with a completion; the loss belongs to the completion alone.

    The completion is appended to the rendered prompt as it is: no template gets the chance to strip its thinking. A
    `raw` text that was cut off at its limit (`finish`) does not learn to end there.
    """
    completion = render_completion(tokenizer, row["completion"])
    cut = row.get("raw") is True and row.get("finish") == "length"
    return render_prompt(tokenizer, row, template), completion[:-1] if cut else completion


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


def _plain(turn: Turn) -> str:
    return PLAIN_PROMPT.format(prompt=turn["content"]) if turn["role"] == "user" else f"{turn['content']}\n"


def _turns(row: Mapping[str, Any]) -> list[Turn]:
    """The row's turns as they were written, its `system` first."""
    given = row.get("messages")
    if given:
        turns = _checked(row, given)
    elif isinstance(row.get("prompt"), str):
        turns = [{"role": "user", "content": row["prompt"]}]
    else:
        raise ChatError(f"{_named(row)}neither a prompt nor messages")
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return turns if turns[0]["role"] == "system" else [*system, *turns]


def _checked(row: Mapping[str, Any], given: Any) -> list[Turn]:
    """`given` as a list of turns that begins with a user (after a system text) and changes its speaker every time."""
    if not isinstance(given, Sequence) or not all(_is_turn(turn) for turn in given):
        raise ChatError(
            f"{_named(row)}messages must be a list of {{role, content}} with role system, user or assistant and text"
        )
    turns = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in given]
    spoken_by = [turn["role"] for turn in turns]
    said = spoken_by[1:] if spoken_by[0] == "system" else spoken_by
    if not said or said != ["user" if i % 2 == 0 else "assistant" for i in range(len(said))]:
        raise ChatError(
            f"{_named(row)}messages must go user, assistant, user, ... after at most one system text, not "
            f"{', '.join(spoken_by[:6])}"
        )
    return turns


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, Mapping)
        and turn.get("role") in ("system", "user", "assistant")
        and isinstance(turn.get("content"), str)
    )


def _context(row: Mapping[str, Any]) -> list[Turn]:
    """The turns before the completion; of a whole conversation without its last answer, which is the completion."""
    turns = _turns(row)
    return _without_thinking(turns[:-1] if turns[-1]["role"] == "assistant" else turns)


def _without_thinking(turns: Sequence[Turn]) -> list[Turn]:
    return [{**turn, "content": spoken(turn["content"])} if turn["role"] == "assistant" else turn for turn in turns]


def _named(row: Mapping[str, Any]) -> str:
    return f"row {row['id']}: " if row.get("id") else ""
