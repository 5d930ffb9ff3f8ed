"""`cold-start`: the first samples of long thinking, from a file, by few-shot prompting, or from R1-Zero's outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.chat import questions
from pipelines.artifacts import Model, Problems, Samples, read_rows, write_rows
from pipelines.contamination import Screen
from pipelines.context import Context
from pipelines.curation import Row, curate
from pipelines.drawing import check_engine
from pipelines.funnel import tally, total
from pipelines.harvest import PROBLEMS, Manner, check_kept, harvest, summarise
from pipelines.keys import path_digest
from pipelines.problems.sources import FILES, SourceError
from pipelines.rewriting import WRITER_PROMPT, ColdStartSettings, rewrite, unreadable, verify
from pipelines.stage import StageConfig, StageError, stage

SOURCES = ("prompt", "zero")
STATED = {"math": {"weight": 1.0, "stated": True}, "code": {"weight": 1.0, "stated": True}}


class Route(BaseModel):
    """Where the samples come from."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    source: str = Field(
        description="zero: outputs of a model trained without samples; prompt: a model that is shown solved examples; "
        "or a .jsonl or .parquet file of samples"
    )
    columns: dict[str, str] = Field(
        {}, description="of a file: our column names (prompt, completion, messages, answer, tests) -> the file's"
    )
    exemplars: str = Field(
        "", description="with `prompt`: a .jsonl or .parquet file of solved examples; empty = the house's three"
    )


class ColdStartConfig(ColdStartSettings, Route, StageConfig):
    """R1's cold start (arXiv 2501.12948v2, B.3.2): several R1-Zero outputs per prompt at temperature 1.0, the right and
    readable ones rewritten by a model. Numbers of samples and thresholds are not published: those here are ours."""

    @model_validator(mode="before")
    @classmethod
    def _zero(cls, given: Any) -> Any:
        """R1-Zero is asked in plain text and says its answers without tags; so does a base that is shown examples."""
        if not isinstance(given, dict):
            return given
        given = {"template": "plain", **given} if given.get("source") == "zero" else given
        return {"rewards": STATED, **given} if given.get("template") == "plain" else given

    @property
    def reads_file(self) -> bool:
        """Whether nothing is drawn for the samples."""
        return self.source.endswith(FILES)


def _files(config: ColdStartConfig) -> Iterable[str]:
    named = [config.source if config.reads_file else "", config.exemplars, config.writer_prompt]
    return [path for path in named if path]


def _check(config: ColdStartConfig) -> Iterable[str]:
    if not config.reads_file and config.source not in SOURCES:
        yield f"source {config.source!r} is none of zero, prompt, a .jsonl or .parquet file"
    if config.exemplars and not config.exemplars.endswith(FILES):
        yield f"exemplars {config.exemplars!r} is no .jsonl or .parquet file"
    yield from check_engine(config)


@stage(
    version=2, summary="first samples of long thinking: from a file, few-shot or R1-Zero", files=_files, check=_check
)
def cold_start(
    ctx: Context,
    config: ColdStartConfig,
    *,
    model: Model | None = None,
    problems: Problems | None = None,
    writer: Model | None = None,
    against: list[Problems] | None = None,
) -> Samples:
    prompt = _writer_prompt(ctx, config) if writer is not None else ""
    screen = config.screen(against)
    try:
        if config.reads_file:
            rows, asked, funnel, tallies = _from_file(ctx, config, model, problems, screen)
        else:
            rows, asked, funnel, tallies = _from_model(ctx, config, model, problems, screen)
    except SourceError as error:
        raise StageError(str(error)) from error
    if writer is not None:
        rows = rewrite(ctx, config, writer.path, prompt, rows)
    left, steps = verify(ctx, config, rows, asked)
    if writer is not None:
        left, more = unreadable(config, left, screen.completions if screen is not None else None)
        steps += more
    counts = Counter(str(row["id"]) for row in left)
    tallies = [{**one, "kept": counts[one["id"]]} for one in tallies]
    whole = {**funnel, "filters": funnel["filters"] + steps, "kept": len(left)}
    made = total([whole], tallies, funnel["problem_filters"])
    check_kept(made)
    told = {
        "source": "cold-start",
        "route": "file" if config.reads_file else config.source,
        "writer": path_digest(writer.path) if writer is not None else None,
    }
    write_rows(ctx.out, ({**row, **told} for row in left))
    write_rows(ctx.out / PROBLEMS, tallies)
    summarise(ctx, made, sum(one["dropped"] for one in funnel["problem_filters"]))
    return Samples(ctx.out)


Candidates = tuple[list[dict[str, Any]], dict[str, Row], dict[str, Any], list[dict[str, Any]]]
"""Rows, the problem of each id, the funnel so far, the tallies of the problems."""


def _from_model(
    ctx: Context, config: ColdStartConfig, model: Model | None, problems: Problems | None, screen: Screen | None
) -> Candidates:
    from pipelines.exemplars import HOUSE, few_shot, first_solution, read_exemplars
    from pipelines.house_form import house_form

    if model is None or problems is None:
        raise StageError(f"source: {config.source} draws from a model: give the inputs `model` and `problems`")

    def form(row: Row, text: str) -> str:
        return house_form(text, code=bool(row.get("tests")))

    manner = Manner("cold-start", form=form)
    if config.source == "prompt":
        shots = read_exemplars(ctx.resolve(config.exemplars) if config.exemplars else HOUSE)
        manner = Manner("cold-start", lambda row: few_shot(row, shots, config.template), trim=first_solution, form=form)
    given = read_rows(problems)
    made = harvest(ctx, config, model.path, given, screen, manner)
    made.write(ctx.out)
    return read_rows(ctx.out), {str(row["id"]): row for row in given}, made.funnel, made.tallies


def _from_file(
    ctx: Context, config: ColdStartConfig, model: Model | None, problems: Problems | None, screen: Screen | None
) -> Candidates:
    from pipelines.cold_start_file import read_candidates

    if problems is not None:
        raise StageError("source: a file of samples is not drawn from: leave the input `problems` out")
    if config.max_kept_tokens and model is None:
        raise StageError("max_kept_tokens counts tokens: give the input `model`, whose tokenizer says what a token is")
    given: Sequence[Row] = list(read_candidates(ctx.resolve(config.source), config.columns, _counter(model)))
    rows, before = screen.problems(config.chosen(given)) if screen is not None else (config.chosen(given), [])
    if not rows:
        raise StageError(f"{config.source}: none of {len(given)} samples is left to look at")
    kept, funnel = curate(
        rows, config.model_copy(update={"keep": "all"}), screen.completions if screen is not None else None
    )
    asked = {str(row["id"]): row for row in rows}
    for row in rows:
        if questions(row) != questions(asked[str(row["id"])]):
            raise StageError(f"{config.source}: the id {row['id']} stands for two questions: leave the ids out")
    bare = [{key: value for key, value in row.items() if key not in ("answer", "tests")} for row in kept]
    return bare, asked, {**funnel, "problem_filters": before}, tally(rows, kept)


def _counter(model: Model | None) -> Any:
    if model is None:
        return None
    from models.checkpoint import load_tokenizer

    tokenizer = load_tokenizer(model.path)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _writer_prompt(ctx: Context, config: ColdStartConfig) -> str:
    text = ctx.resolve(config.writer_prompt).read_text(encoding="utf-8") if config.writer_prompt else WRITER_PROMPT
    if "{draft}" not in text:
        raise StageError(
            f"{config.writer_prompt}: there is no {{draft}} in it: the writer would not see what to rewrite"
        )
    return text
