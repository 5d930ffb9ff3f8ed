"""`r1 doctor --template`: is a model's chat template fit for training with thinking? Every property is tried.

What is asked follows from how this program trains and grades: a prompt is rendered up to where the model begins to
write, a completion is appended as it is and ends with the end token, and rewards read the decoded completion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.chat import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

USER, SYSTEM, THOUGHT, SAID = "What is 2+3?", "Be brief and kind.", "first two then three", "the sum is five"
COMPLETION = f"{THINK_OPEN}{THOUGHT}{THINK_CLOSE}{ANSWER_OPEN}{SAID}{ANSWER_CLOSE}"
MARKERS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
TEXTS = {
    "punctuation": "Well , it 's 1 . 5 ! don 't",
    "numbers": "12,345.67 + 1e-5 = 0012",
    "white space": "  two  spaces\n\n\n\tand a tab \n",
    "code": "```python\ndef f(x):\n    return x ** 2\n```",
    "LaTeX": r"\frac{1}{2} \{x \mid x > 0\} \\ $a_{ij}^2$",
    "other scripts": "naïve café 漢字かな Привет 🙂",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` True: fine; None: works here, worth knowing; False: training or grading would go wrong."""

    ok: bool | None
    what: str
    found: str


def lint(tokenizer: Any, stop_ids: Sequence[int]) -> Iterator[Finding]:
    """All checks, in the order in which they matter. `stop_ids`: the tokens at which the engine ends a completion."""
    if not tokenizer.chat_template:
        yield Finding(False, "template", "there is none: use `template: plain`, or add a chat_template.jinja")
    else:
        template = _Template(tokenizer)
        prompt = template.text([_turn("user", USER)], generate=True)
        if prompt is None or USER not in prompt:
            fault = template.fault or "the user's words are not in it"
            yield Finding(False, "template", f"does not render a user's turn: {fault}")
        else:
            yield Finding(True, "template", "renders a user's turn")
            yield from _system(template)
            yield from _generation_prompt(template, prompt)
            yield from _whole_conversation(template, prompt)
            yield from _bos(template)
            yield from _turn_end(template, stop_ids)
    yield from _end(tokenizer, stop_ids)
    yield from _markers(tokenizer)
    yield from _round_trip(tokenizer)


class _Template:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.fault = tokenizer, ""

    def text(self, turns: Sequence[Mapping[str, str]], *, generate: bool = False) -> str | None:
        """The rendered turns; None, with `fault`, where the template refuses them."""
        from jinja2 import TemplateError

        try:
            rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate)
        except (TemplateError, TypeError, ValueError) as error:
            self.fault = str(error).splitlines()[0] if str(error) else type(error).__name__
            return None
        return rendered


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _system(template: _Template) -> Iterator[Finding]:
    text = template.text([_turn("system", SYSTEM), _turn("user", USER)], generate=True)
    if text is None:
        yield Finding(None, "system turn", f"refused ({template.fault}): rows with `system` cannot be rendered")
    elif SYSTEM not in text:
        yield Finding(False, "system turn", "dropped in silence: rows with `system` would lose it")
    else:
        yield Finding(True, "system turn", "rendered")


def _generation_prompt(template: _Template, prompt: str) -> Iterator[Finding]:
    bare = template.text([_turn("user", USER)]) or ""
    added = prompt.removeprefix(bare)
    if prompt == bare:
        yield Finding(
            False, "prompt", "add_generation_prompt adds nothing: the model would go on with the user's words"
        )
    elif THINK_CLOSE in added:
        yield Finding(False, "prompt", f"ends with {_shown(added)}: thinking is over before it begins")
    elif THINK_OPEN in added:
        yield Finding(
            False,
            "prompt",
            f"ends with {_shown(added)}: {THINK_OPEN} is opened by the prompt and again by every sample, and the "
            "`format` reward misses it in the completion: take it out of the generation prompt",
        )
    else:
        yield Finding(True, "prompt", f"ends with {_shown(added)}; {THINK_OPEN} is the model's to write")


def _whole_conversation(template: _Template, prompt: str) -> Iterator[Finding]:
    """What becomes of the completion where another tool renders the whole conversation, and of earlier thinking."""
    answered = [_turn("user", USER), _turn("assistant", COMPLETION)]
    whole = template.text(answered) or ""
    if COMPLETION in whole:
        yield Finding(True, "last answer", "kept with its thinking")
    elif THOUGHT in whole:
        yield Finding(None, "last answer", "is rewritten around its thinking; r1 appends completions as they are")
    elif SAID in whole:
        yield Finding(
            None, "last answer", "loses its thinking where a whole chat is rendered; r1 appends completions as they are"
        )
    else:
        yield Finding(False, "last answer", f"is not in the rendered chat{template.fault and ': ' + template.fault}")
    masked = _masked(template, answered)
    if masked is not None and SAID in masked and USER not in masked:
        yield Finding(True, "mask", "the template marks the assistant's tokens")
    elif masked is not None:
        yield Finding(False, "mask", f"the template marks the wrong tokens as the assistant's: {_shown(masked)}")
    elif whole.startswith(prompt):
        yield Finding(True, "mask", "by length: a chat begins with its rendered prompt")
    else:
        yield Finding(
            None,
            "mask",
            "no {% generation %} block, and a chat does not begin with its rendered prompt: it takes r1's own "
            "rendering (prompt, then completion) to know which tokens are the assistant's",
        )
    later = template.text([*answered, _turn("user", "And 3+4?")], generate=True) or ""
    if THOUGHT in later:
        yield Finding(None, "earlier turns", "keep their thinking: chats of several turns grow by it (R1 drops it)")
    elif SAID in later:
        yield Finding(True, "earlier turns", "lose their thinking and keep their answer, as in R1")
    else:
        yield Finding(False, "earlier turns", "lose what the assistant said")


def _masked(template: _Template, turns: Sequence[Mapping[str, str]]) -> str | None:
    """The text that the template's generation block marks; None where there is no such block."""
    tokenizer = template.tokenizer
    if not re.search(r"\{%-?\s*generation\s*-?%\}", str(tokenizer.chat_template)):
        return None
    made = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, one in zip(made["input_ids"], made["assistant_masks"], strict=True) if one]
    return str(tokenizer.decode(marked))


def _bos(template: _Template) -> Iterator[Finding]:
    tokenizer = template.tokenizer
    if tokenizer.bos_token_id is None:
        return
    made = tokenizer.apply_chat_template([_turn("user", USER)], tokenize=True, return_dict=True)
    count = list(made["input_ids"]).count(tokenizer.bos_token_id)
    if count > 1 and tokenizer.bos_token_id != tokenizer.eos_token_id:
        yield Finding(False, "begin token", f"{tokenizer.bos_token} stands {count} times in a prompt of one turn")


def _turn_end(template: _Template, stop_ids: Sequence[int]) -> Iterator[Finding]:
    tokenizer = template.tokenizer
    whole = template.text([_turn("user", USER), _turn("assistant", SAID)]) or ""
    rest = whole.rpartition(SAID)[2].lstrip()
    after = tokenizer.encode(rest, add_special_tokens=False)
    if not after:
        yield Finding(
            None, "turn end", "the template puts nothing after an answer; training ends it with the end token"
        )
    elif after[0] != tokenizer.eos_token_id and after[0] not in stop_ids:
        yield Finding(
            None,
            "turn end",
            f"the template ends a turn with {_shown(rest)}, training and generation with "
            f"{_shown(tokenizer.eos_token)}: a model that was trained on the template may not stop",
        )


def _end(tokenizer: Any, stop_ids: Sequence[int]) -> Iterator[Finding]:
    eos = tokenizer.eos_token_id
    stops = ", ".join(_shown(tokenizer.decode([token])) for token in stop_ids) or "nothing"
    if eos is None:
        yield Finding(False, "end token", "the tokenizer has none: completions could not end")
    elif eos not in stop_ids:
        yield Finding(
            False,
            "end token",
            f"completions are trained to end with {_shown(tokenizer.eos_token)}, generation stops at {stops}: "
            "add it to eos_token_id in generation_config.json",
        )
    else:
        yield Finding(True, "end token", f"{_shown(tokenizer.eos_token)}; generation stops at {stops}")


def _markers(tokenizer: Any) -> Iterator[Finding]:
    lost = [marker for marker in MARKERS if _through(tokenizer, marker) != marker]
    counts = {marker: len(tokenizer.encode(marker, add_special_tokens=False)) for marker in MARKERS}
    if lost:
        yield Finding(
            False,
            "markers",
            f"{', '.join(lost)} lost in decoding (a special token?): rewards could not see it; "
            "add it with special=False",
        )
    elif max(counts.values()) > 1:
        told = ", ".join(f"{marker} {n}" for marker, n in counts.items() if n > 1)
        yield Finding(None, "markers", f"read back as written; tokens each: {told}")
    else:
        yield Finding(True, "markers", "one token each, read back as written")


def _round_trip(tokenizer: Any) -> Iterator[Finding]:
    for name, text in TEXTS.items():
        back = _through(tokenizer, text)
        if back != text:
            yield Finding(False, "round trip", f"{name}: {text!r} comes back as {back!r}")
    if all(_through(tokenizer, text) == text for text in TEXTS.values()):
        yield Finding(True, "round trip", f"{', '.join(TEXTS)}: text -> tokens -> the same text")


def _through(tokenizer: Any, text: str) -> str:
    ids = tokenizer.encode(text, add_special_tokens=False)
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:28]} ... {text[-28:]}")


def lint_folder(folder: Path) -> list[Finding]:
    """The checks on the tokenizer of a model folder.

    Raises:
        OSError, ValueError: there is no tokenizer to load.
    """
    from models.checkpoint import load_tokenizer
    from rollout.requests import stop_token_ids

    return list(lint(load_tokenizer(folder), stop_token_ids(folder)))
