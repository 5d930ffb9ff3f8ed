"""Talk to a model of a run: one question, or a conversation line by line, each answer written as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.chat import Template, Turn
from pipelines.show import content, find
from pipelines.source import ConfigError

RESET = "/reset"


def find_model(text: str, workdir: Path) -> Path:
    """The model folder that RUN/STAGE, or a plain path, names.

    Raises:
        ConfigError: there is none; the message names the stages that have one.
    """
    if (Path(text) / "config.json").is_file():
        return Path(text)
    folder, stage = find(text, workdir)
    stages = content(folder)["stages"]
    outputs = {name: record.get("manifest", {}).get("outputs", {}) for name, record in stages.items()}
    models = {name: made[""]["path"] for name, made in outputs.items() if made.get("", {}).get("type") == "Model"}
    if stage not in models:
        what = f"{text}: stage {stage} has no model" if stage else f"{text}: which model?"
        hint = (
            f"r1 chat {folder}/{list(models)[-1]}; there are {', '.join(models)}" if models else "the run has none yet"
        )
        raise ConfigError([f"{what} ({hint})"])
    return folder / stage / str(models[stage])


@dataclass
class Talk:
    """A conversation with one model. Its earlier thinking is dropped from what it reads, as in training."""

    model: Any
    tokenizer: Any
    ends: list[int]
    template: Template = "chat"
    system: str | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 1024
    turns: list[Turn] = field(default_factory=list)

    def ask(self, text: str, write: Callable[[str], None]) -> str:
        """The answer to `text`, handed to `write` piece by piece. A `plain` prompt has no earlier turns.

        Raises:
            ConfigError: the conversation has become longer than the model can hold.
        """
        import torch
        from transformers import TextStreamer

        from models.chat import render_prompt

        class Writer(TextStreamer):  # type: ignore[misc,unused-ignore]
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                write(text)

        turns = [*self.turns, {"role": "user", "content": text}]
        row = {"prompt": text} if self.template == "plain" else {"messages": turns, "system": self.system}
        ids = render_prompt(self.tokenizer, row, self.template)
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and len(ids) >= longest:
            raise ConfigError(
                [f"the conversation has {len(ids)} tokens, the model holds {longest}: begin anew ({RESET})"]
            )
        room = self.max_tokens if longest is None else min(self.max_tokens, longest - len(ids))
        prompt = torch.tensor([ids], device=self.model.device)
        sampling = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        with torch.no_grad():
            made = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=room,
                eos_token_id=self.ends or None,
                pad_token_id=self.tokenizer.pad_token_id,
                streamer=Writer(self.tokenizer, skip_prompt=True, skip_special_tokens=True),
                **(sampling if self.temperature > 0 else {"do_sample": False}),
            )
        answer = str(self.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True))
        self.turns = [*turns, {"role": "assistant", "content": answer}]
        return answer


def load(folder: Path, seed: int | None, **settings: Any) -> Talk:
    """A conversation with the model of a folder; `seed` makes it repeatable."""
    import torch

    from models.checkpoint import load_model, load_tokenizer
    from rollout.requests import stop_token_ids

    if seed is not None:
        torch.manual_seed(seed)
    try:
        model, tokenizer = load_model(folder).eval(), load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{folder}: no model that can be loaded: {str(error).splitlines()[0]}"]) from None
    if settings.get("template") != "plain" and not tokenizer.chat_template:
        raise ConfigError([f"{folder}: its tokenizer has no chat template: use --template plain"])
    return Talk(model, tokenizer, sorted(stop_token_ids(folder)), **settings)


def typed() -> Iterator[str]:
    """Lines from the terminal, asked for with a prompt, or from a pipe; until the end of the input."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def converse(talk: Talk, questions: Iterator[str], write: Callable[[str], None]) -> None:
    """Answer one question after the other; `/reset` begins a new conversation."""
    for question in questions:
        if question.strip() == RESET:
            talk.turns = []
            write("(a new conversation)\n")
        elif question.strip():
            try:
                talk.ask(question.strip(), write)
            except ConfigError as error:  # too long a conversation: the next line may begin a new one
                write(error.lines[0])
            write("\n")
