"""`preferences`: what alignment needs: pairs, labels, general prompts for RL, and general chat in many hands."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import Field

from pipelines.artifacts import Preferences, Problems, Samples, write_rows
from pipelines.context import Context
from pipelines.problems.preference_sources import check_source, is_file
from pipelines.stage import StageConfig, StageError, stage

Rows = list[dict[str, Any]]
_KINDS = {"pairs": Preferences, "labels": Preferences, "chat": Problems, "samples": Samples}


class PreferencesConfig(StageConfig):
    """Preference data and where it comes from. A prompt's split is decided by its content: no seed moves it."""

    source: str = Field(
        "manners", description="manners (generated), a .jsonl or .parquet file, or datasets:NAME[/CONFIG][:SPLIT]"
    )
    pairs: int = Field(2048, ge=0, description="pairs (chosen, rejected) for a helpful reward model")
    pairs_dev: int = Field(256, ge=0, description="pairs on held-out prompts: the reward model's accuracy")
    labels: int = Field(2048, ge=0, description="labelled answers (1 good, 0 bad) for a safety reward model")
    labels_dev: int = Field(256, ge=0, description="labelled answers to held-out prompts")
    chat: int = Field(512, ge=0, description="general prompts for RL")
    chat_dev: int = Field(56, ge=0, description="general prompts to choose settings on")
    chat_holdout: int = Field(144, ge=0, description="general prompts used for nothing but evaluation")
    safety: float = Field(0.5, ge=0, le=1, description="share of safety prompts among them, half of those harmful")
    samples: int = Field(3072, ge=0, description="general chat in many hands, for the final SFT")
    good: float = Field(
        0.35, ge=0, le=1, description="share of the helpful samples that are right, complete and polite"
    )
    refuse: float = Field(0.5, ge=0, le=1, description="share of the samples on harmful prompts that refuse")
    over_refuse: float = Field(0.3, ge=0, le=1, description="share of the samples on harmless prompts that refuse")
    think: float = Field(0.5, ge=0, le=1, description="share of completions that think before they answer")
    columns: dict[str, str] = Field(
        {}, description="our column names (prompt, chosen, rejected, completion, label) -> the source's"
    )


class PreferenceSets(NamedTuple):
    """Outputs, as in `preferences.pairs`; `_dev` and `_holdout` are on prompts that no other set has."""

    pairs: Preferences
    pairs_dev: Preferences
    labels: Preferences
    labels_dev: Preferences
    chat: Problems
    chat_dev: Problems
    chat_holdout: Problems
    samples: Samples


def _files(config: PreferencesConfig) -> Iterable[str]:
    return [config.source] if is_file(config.source) else []


def _check(config: PreferencesConfig) -> Iterable[str]:
    fault = check_source(config.source)
    return [fault] if fault else []


@stage(version=6, summary="generate or read preference pairs, safety labels, chat prompts", files=_files, check=_check)
def preferences(ctx: Context, config: PreferencesConfig) -> PreferenceSets:
    rng = random.Random(f"preferences:{ctx.seed}")
    sets = _generate(config, rng) if config.source == "manners" else _read(ctx, config, rng)
    held = {row["prompt"] for name, rows in sets.items() if name.endswith(("_dev", "_holdout")) for row in rows}
    trained = [row for name in _KINDS for row in sets[name]]
    leaked = [row["id"] for row in trained if row["prompt"] in held]
    if leaked:
        raise StageError(f"{len(leaked)} training rows are held out as well, for example {leaked[0]}")
    for name, rows in sets.items():
        write_rows(ctx.out / name, rows)
    ctx.summary(**{name: len(rows) for name, rows in sets.items()}, leaked=0)
    made = {name: _KINDS[name.partition("_")[0]](ctx.out / name) for name in sets}
    return PreferenceSets(**made)  # type: ignore[arg-type]


def _generate(config: PreferencesConfig, rng: random.Random) -> dict[str, Rows]:
    from pipelines.problems import preferences as drawn

    try:
        return {
            "pairs": drawn.pairs("train", config.pairs, rng, config.think),
            "pairs_dev": drawn.pairs("dev", config.pairs_dev, rng, config.think),
            "labels": drawn.labels("train", config.labels, rng, config.think),
            "labels_dev": drawn.labels("dev", config.labels_dev, rng, config.think),
            "chat": drawn.chat("train", config.chat, rng, config.safety),
            "chat_dev": drawn.chat("dev", config.chat_dev, rng, config.safety),
            "chat_holdout": drawn.chat("test", config.chat_holdout, rng, config.safety),
            "samples": drawn.samples(
                config.samples,
                rng,
                good=config.good,
                refuse=config.refuse,
                over_refuse=config.over_refuse,
                think=config.think,
            ),
        }
    except ValueError as error:
        raise StageError(f"preferences: {error}") from error


def _read(ctx: Context, config: PreferencesConfig, rng: random.Random) -> dict[str, Rows]:
    """Rows of an outside source: its pairs or labels, its prompts for RL, and its good answers as samples."""
    from pipelines.problems.items import split_of
    from pipelines.problems.preference_sources import read_preferences
    from pipelines.problems.sources import SourceError

    source = str(ctx.resolve(config.source)) if is_file(config.source) else config.source
    rows: dict[str, Rows] = {"train": [], "dev": [], "test": []}
    skipped = 0
    try:
        for row in read_preferences(source, config.columns):
            if row is None:
                skipped += 1
            else:
                rows[split_of(row["prompt"])].append(row)
    except SourceError as error:
        raise StageError(str(error)) from error
    for listed in rows.values():
        rng.shuffle(listed)
    if not rows["train"]:
        raise StageError(f"{config.source}: no row with a single turn falls into the train split; it is too small")
    ctx.summary(skipped_multi_turn=skipped)
    return _outside_sets(config, rows)


def _outside_sets(config: PreferencesConfig, rows: dict[str, Rows]) -> dict[str, Rows]:
    paired = {split: [row for row in listed if "chosen" in row] for split, listed in rows.items()}
    marked = {split: [row for row in listed if "label" in row] for split, listed in rows.items()}
    prompts = {split: list({row["prompt"]: _prompt(row) for row in listed}.values()) for split, listed in rows.items()}
    good = [row | {"completion": row.get("chosen") or row["completion"]} for row in rows["train"]]
    keep = ("id", "prompt", "system", "kind", "judge", "completion")
    told = [{key: row[key] for key in keep} for row in good if row.get("label", 1.0) == 1.0]
    return {
        "pairs": paired["train"][: config.pairs],
        "pairs_dev": paired["dev"][: config.pairs_dev],
        "labels": marked["train"][: config.labels],
        "labels_dev": marked["dev"][: config.labels_dev],
        "chat": prompts["train"][: config.chat],
        "chat_dev": prompts["dev"][: config.chat_dev],
        "chat_holdout": prompts["test"][: config.chat_holdout],
        "samples": [row | {"family": "chat", "source": config.source} for row in told[: config.samples]],
    }


def _prompt(row: dict[str, Any]) -> dict[str, Any]:
    about = {key: row[key] for key in ("id", "prompt", "system", "kind", "judge")}
    return about | {"answer": None, "family": "chat", "tests": None}
