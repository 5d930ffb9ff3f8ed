"""Draw completions from a model for problem rows and grade them: what the stages `sample` and `eval` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines import journal
from pipelines.artifacts import RewardModel
from pipelines.context import Context
from pipelines.grading import make_scorer, quarantine_of
from pipelines.stage import StageError
from rollout.factory import EngineKind
from rollout.server_settings import Replicas, ServerUrls, StallSeconds, server_faults
from rollout.types import Engine, Finish, Rollout, Sample, SamplingParams, Scorer

Row = Mapping[str, Any]
Group = list[tuple[str, int, Finish]]  # the completions of one problem: text, tokens, how each ended


class DrawSettings(BaseModel):
    """Knobs of drawing and grading. Chunks are journalled: a killed stage goes on after its last whole chunk."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    max_tokens: int = Field(1024, ge=1, description="longest completion, tokens (R1: 32,768)")
    template: Literal["chat", "plain"] = Field("chat", description="chat: the tokenizer's template; plain: R1-Zero")
    rewards: dict[str, Any] = Field({"math": 1.0, "code": 1.0}, description="rewards and their weights or settings")
    correct: tuple[str, ...] = Field(
        ("math", "code"), description="rewards that say an answer is right (value 1): one of them is enough"
    )
    engine: EngineKind = Field("auto", description="see docs/engines.md; auto: vLLM where it is installed")
    replicas: Replicas = 1
    server_urls: ServerUrls = ()
    stall_seconds: StallSeconds = 120.0
    engine_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of the engine; auto = bfloat16 on a GPU, float32 on a CPU"
    )
    max_num_seqs: int = Field(256, ge=1, description="sequences the engine decodes at once")
    kv_cache_gib: float | None = Field(
        None, gt=0, description="the engine's cache, GiB; empty = on a CPU enough for max_num_seqs, at most 4"
    )
    gpu_memory: float = Field(0.8, gt=0, lt=1, description="share of the GPU's memory for the engine")
    chunk: int = Field(128, ge=1, description="problems drawn, graded and kept on the disk at a time")


@dataclass(frozen=True, slots=True)
class Graded:
    """One completion of one problem. `parts` has a value for every reward that applies; `correct` None: not graded."""

    row: Row
    completion: str
    n_tokens: int
    finish: Finish
    reward: float | None
    parts: Mapping[str, float]
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Draw:
    """What to draw: `n` completions for each problem."""

    n: int
    temperature: float
    top_p: float
    seed: int


def check_engine(config: DrawSettings) -> list[str]:
    """Messages for a stage's `check`: an engine that this machine lacks, no reward that decides."""
    from rollout.factory import resolve_kind

    faults = []
    if not set(config.correct) & set(config.rewards):
        faults.append(f"correct: none of {', '.join(config.correct)} is among the rewards, so nothing could be right")
    try:
        resolve_kind(config.engine)
    except ValueError as error:
        faults.append(str(error))
    return [*faults, *server_faults(config.engine, config.replicas, config.server_urls)]


def draw_and_grade(
    ctx: Context,
    model: Path,
    rows: Sequence[Row],
    draw: Draw,
    file: Path,
    config: DrawSettings,
    judges: Mapping[str, RewardModel | None] = {},
) -> list[Graded]:
    """`draw.n` graded completions for each row, in the rows' order. The engine is closed before this returns.

    `file` is the journal of what was drawn, which a killed stage goes on from. `judges`: see `pipelines.grading`.
    """
    if not rows:
        raise StageError("there are no problems to draw from")
    with ctx.progress(file.stem, len(rows)) as bar:
        groups = draw_groups(model, rows, draw, file, config, bar, ctx.say)
    return grade(ctx, rows, groups, config, judges)


def draw_groups(
    model: Path,
    rows: Sequence[Row],
    draw: Draw,
    file: Path,
    config: DrawSettings,
    bar: Any,
    say: Callable[[str], None],
) -> list[Group]:
    """(text, tokens, finish) of `draw.n` completions for each row; the text is without its end token."""
    groups = _read_journal(file, say)
    bar.advance(len(groups))
    if len(groups) == len(rows):
        return groups
    missing = range(len(groups), len(rows), config.chunk)
    with closing(draw_chunks(model, rows, draw, config, missing)) as chunks:
        for first, texts in chunks:
            groups += texts
            journal.append(file, {"first": first, "groups": texts})
            bar.advance(len(texts), tokens=mean_tokens(texts))
    return groups


def draw_chunks(
    model: Path, rows: Sequence[Row], draw: Draw, config: DrawSettings, firsts: Iterable[int]
) -> Generator[tuple[int, list[Group]], None, None]:
    """(index of its first row, groups) of each chunk of `config.chunk` rows that begins at one of `firsts`.

    What a chunk holds depends on its place among `rows`, not on the chunks drawn before it. The engine is there while
    the iterator is open. StageError where rollout servers fail for good.
    """
    from models.chat import ChatError, render_prompt
    from models.checkpoint import load_tokenizer
    from rollout.sampling import sample_chunks
    from rollout.server import EngineFailure

    tokenizer = load_tokenizer(model)
    try:
        prompts = [render_prompt(tokenizer, row, config.template) for row in rows]
    except ChatError as error:
        raise StageError(str(error)) from error
    params = SamplingParams(draw.temperature, draw.top_p, config.max_tokens, draw.seed)
    try:
        with closing(_engine(model, prompts, draw.seed, config)) as engine:
            for first in firsts:
                upto = prompts[: first + config.chunk]
                for _, drawn in sample_chunks(engine, upto, params, draw.n, chunk=config.chunk, start=first):
                    yield first, [[_text(tokenizer, rollout) for rollout in group] for group in drawn]
    except EngineFailure as error:
        raise StageError(f"{error} (what was drawn is kept; the same command goes on from there)") from error


def mean_tokens(groups: Sequence[Group]) -> int:
    """Tokens of a completion, on average."""
    return round(fmean(n for group in groups for _, n, _ in group))


def _read_journal(file: Path, say: Callable[[str], None]) -> list[Group]:
    """The groups of all chunks up to the first that is damaged or cut off by a kill; what follows leaves the file."""
    lines = journal.read(file)
    groups: list[Group] = []
    whole = []
    for line in lines:
        if line is None or line["first"] != len(groups):
            break
        groups += [[(text, n, finish) for text, n, finish in group] for group in line["groups"]]
        whole.append(line)
    if len(whole) < len(lines):
        say(f"{file}: entry {len(whole) + 1} of {len(lines)} is damaged: drawing again from problem {len(groups)} on")
        journal.rewrite(file, whole)
    return groups


def _text(tokenizer: Any, rollout: Rollout) -> tuple[str, int, Finish]:
    ids = rollout.completion_ids
    return tokenizer.decode(ids, skip_special_tokens=True), len(ids), rollout.finish


def _engine(model: Path, prompts: Sequence[Sequence[int]], seed: int, config: DrawSettings) -> Engine:
    """An engine just long enough for these prompts; StageError where the model's context is shorter than that."""
    from rollout.factory import make_engine

    longest = max(len(prompt) for prompt in prompts)
    about = json.loads((model / "config.json").read_text(encoding="utf-8"))
    limit = about.get("max_position_embeddings") or longest + config.max_tokens
    if longest + config.max_tokens > limit:
        raise StageError(
            f"the longest prompt has {longest} tokens; with max_tokens {config.max_tokens} that exceeds the model's "
            f"context of {limit}: set max_tokens to at most {max(1, limit - longest)}"
        )
    return make_engine(
        config.engine,
        model,
        max_model_len=longest + config.max_tokens,
        dtype=config.engine_dtype,
        max_num_seqs=config.max_num_seqs,
        kv_cache_gib=config.kv_cache_gib,
        gpu_memory=config.gpu_memory,
        replicas=config.replicas,
        server_urls=config.server_urls,
        stall_seconds=config.stall_seconds,
        seed=seed,
    )


def grade(
    ctx: Context,
    rows: Sequence[Row],
    groups: Sequence[Group],
    config: DrawSettings,
    judges: Mapping[str, RewardModel | None] = {},
) -> list[Graded]:
    """Every completion with its verdict. A sample whose grading failed goes to quarantine.jsonl with correct None."""
    with (
        quarantine_of(ctx) as quarantine,
        make_scorer(ctx, config.rewards, **judges, rows=rows, quarantine=quarantine) as scorer,
    ):
        return grade_with(scorer, rows, groups, config)


def grade_with(scorer: Scorer, rows: Sequence[Row], groups: Sequence[Group], config: DrawSettings) -> list[Graded]:
    """Every completion with its verdict, by a scorer that stays open."""
    from rewards.scorer import ErrorBudgetExceeded
    from rollout.server import EngineFailure

    samples = [[_sample(row, *drawn) for drawn in group] for row, group in zip(rows, groups, strict=True)]
    try:
        scored = scorer(samples)
    except (EngineFailure, ErrorBudgetExceeded) as error:
        raise StageError(str(error)) from error
    graded = []
    for p, group in enumerate(samples):
        for g, sample in enumerate(group):
            values = {name: part[p][g] for name, part in scored.parts_P_G.items()}
            parts = {name: value for name, value in values.items() if value is not None}
            reward = scored.total_P_G[p][g]
            right = verdict(parts, config.correct) if reward is not None else None
            graded.append(Graded(sample.row, sample.completion, sample.n_tokens, sample.finish, reward, parts, right))
    return graded


def verdict(parts: Mapping[str, float], correct: Sequence[str]) -> bool | None:
    """Whether one of the `correct` parts is 1; None where none of them applies.

    One is enough: a problem has one kind of truth. A code problem may carry a reference program in `answer`, which
    `math` then compares with the completion, in vain.
    """
    deciding = [parts[name] for name in correct if name in parts]
    return max(deciding) >= 1.0 - 1e-6 if deciding else None


def _sample(row: Row, completion: str, n_tokens: int, finish: Finish) -> Sample:
    return Sample(str(row["prompt"]), completion, row.get("answer"), finish, n_tokens, row)
