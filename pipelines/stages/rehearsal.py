"""`rehearsal`: texts that a model writes by itself, to be trained on beside new samples, so that it forgets less.

Drawn at temperature 1 from the model that is about to be trained, such texts have an expected gradient of zero at the
start: they teach nothing and pull back whatever the other samples push away (pseudo-rehearsal; for language models
arXiv 2403.01244). They are texts without turns, which is where a model trained on chats alone forgets unseen.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from pipelines.artifacts import Model, Samples, write_rows
from pipelines.context import Context
from pipelines.drawing import Draw, DrawSettings, check_engine, draw_groups
from pipelines.stage import StageConfig, StageError, stage
from rollout.factory import EngineKind

OPENINGS = (
    "The", "In", "It", "When", "A", "He", "She", "There", "At", "For", "But", "They", "We", "On", "I", "If",
    "As", "This", "After", "Many", "One", "Once", "His", "Her", "From", "No", "What", "So", "Before", "Our",
    "By", "All", "With", "Some", "To", "You", "That", "Most", "During", "Now",
)  # fmt: skip


class RehearsalConfig(StageConfig):
    """Texts of the model's own; `sft` learns them as they are, without turns."""

    n: int = Field(160, ge=1, description="texts")
    max_tokens: int = Field(160, ge=1, description="longest text, tokens; one that is cut off does not learn to end")
    openings: tuple[str, ...] = Field((), description="how texts begin, taken in turn; empty = 40 common English words")
    engine: EngineKind = Field("auto", description="see docs/engines.md; auto: vLLM where it is installed")
    max_num_seqs: int = Field(64, ge=1, description="sequences the engine decodes at once")


def _check(config: RehearsalConfig) -> Iterable[str]:
    if not all(opening.strip() for opening in config.openings):
        yield "openings: one of them is empty, and a text must begin with something: leave it out"
    yield from check_engine(_drawing(config))


def _drawing(config: RehearsalConfig) -> DrawSettings:
    return DrawSettings.model_validate(config.model_dump(include={"max_tokens", "engine", "max_num_seqs"}))


@stage(version=1, summary="texts of a model's own, to be trained on against forgetting", check=_check)
def rehearsal(ctx: Context, config: RehearsalConfig, *, model: Model) -> Samples:
    openings = config.openings or OPENINGS
    rows = [
        {"id": f"rehearsal-{i}", "prompt": openings[i % len(openings)], "raw": True, "system": None}
        for i in range(config.n)
    ]
    with ctx.progress("rehearsal", len(rows)) as bar:
        file = ctx.scratch / "rehearsal.jsonl"
        groups = draw_groups(model.path, rows, Draw(1, 1.0, 1.0, ctx.seed), file, _drawing(config), bar, ctx.say)
    made = [
        {**row, "completion": text, "finish": finish, "n_tokens": tokens, "family": "rehearsal", "source": "rehearsal"}
        for row, [(text, tokens, finish)] in zip(rows, groups, strict=True)
        if text.strip()
    ]
    if not made:
        raise StageError(f"the model ended all {len(rows)} texts at once: give longer openings")
    write_rows(ctx.out, made)
    ctx.summary(kept=len(made), tokens=sum(row["n_tokens"] for row in made))
    return Samples(ctx.out)
