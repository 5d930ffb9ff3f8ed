"""`perplexity`: has a model forgotten its language? How well each model predicts the same ordinary text."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from pipelines.artifacts import Model, Scores
from pipelines.context import Context
from pipelines.evaluation import Z95, standard_error
from pipelines.stage import StageConfig, StageError, stage

VERNE = "verne"


class PerplexityConfig(StageConfig):
    """Next-token prediction on a text in windows, each read from its own first token."""

    text: str = Field(
        VERNE,
        description="a .txt file, or verne: 'In the Year 2889' (1889, public domain), which comes with reasoning-gym",
    )
    window: int = Field(256, ge=16, description="tokens read at a time")
    windows: int = Field(32, ge=2, description="at most so many windows from the start of the text")


def _place(text: str) -> str | None:
    """The file that `text` means; None where its package is missing."""
    if text != VERNE:
        return text
    found = importlib.util.find_spec("reasoning_gym")  # its import takes seconds
    return str(Path(str(found.origin)).parent / "data" / "in_the_year_2889.txt") if found else None


def _files(config: PerplexityConfig) -> Iterable[str]:
    place = _place(config.text)
    return [place] if place else []


def _check(config: PerplexityConfig) -> Iterable[str]:
    if _place(config.text) is None:
        yield "text: verne comes with reasoning-gym, which is not installed: pip install 'r1[reasoning-gym]'"


@stage(version=1, summary="how well models predict ordinary text: nats per token", files=_files, check=_check)
def perplexity(ctx: Context, config: PerplexityConfig, *, models: dict[str, Model]) -> Scores:
    from models.checkpoint import load_model, load_tokenizer
    from rollout.forward import model_logprobs

    text = ctx.resolve(_place(config.text) or "").read_text(encoding="utf-8")
    numbers: dict[str, dict[str, float | int]] = {}
    first: list[float] = []
    read: list[int] = []
    for name, model in models.items():
        ids = load_tokenizer(model.path).encode(text, add_special_tokens=False)
        starts = range(0, len(ids) - config.window + 1, config.window)[: config.windows]
        if len(starts) < 2:
            raise StageError(f"text {config.text}: {len(ids)} tokens are not two windows of {config.window}")
        used = ids[: len(starts) * config.window]
        read = read or used
        if used != read:
            raise StageError(f"{name} has another tokenizer than the first model: their losses cannot be compared")
        loaded, losses = load_model(model.path), []
        context = getattr(loaded.config.get_text_config(), "max_position_embeddings", config.window)
        if config.window > context:
            raise StageError(f"window {config.window} is more than the {context} tokens that {name} can read: lower it")
        with ctx.progress(name, len(starts)) as bar:
            for start in starts:
                logprobs = model_logprobs(loaded, [ids[start : start + config.window]])
                losses.append(-fmean(logprobs[0]))
                bar.advance()
        first = first or losses
        numbers[name] = compared(losses, first) | {"tokens": len(losses) * (config.window - 1)}
        ctx.summary(**{name: numbers[name]["perplexity"]})
    content = {"models": numbers, "protocol": {"text": config.text, "window": config.window}}
    (ctx.out / "scores.json").write_text(json.dumps(content, indent=1))
    return Scores(ctx.out)


def compared(losses: Sequence[float], first: Sequence[float]) -> dict[str, float | int]:
    """Numbers of one model from the mean loss (nats per token) of each window, and those of the first model.

    `nats` +- `nats95`: mean and half width of its 95% interval; `more` +- `more95`: what it loses more than the first
    model on the same windows (paired: what makes one window harder than another falls out).
    """
    more = [mine - theirs for mine, theirs in zip(losses, first, strict=True)]
    return {
        "perplexity": math.exp(fmean(losses)),
        "nats": fmean(losses),
        "nats95": Z95 * (standard_error(losses) or 0.0),
        "more": fmean(more),
        "more95": Z95 * (standard_error(more) or 0.0),
    }
