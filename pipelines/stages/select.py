"""`select`: problems of a difficulty band, by the pass rates that an evaluation measured: what RL can learn from."""

from __future__ import annotations

import json

from pydantic import Field

from models.chat import shown
from pipelines.artifacts import Problems, Scores, read_rows, write_rows
from pipelines.context import Context
from pipelines.curation import EXAMPLE_CHARS, EXAMPLES, Band, pass_rates
from pipelines.funnel import histogram
from pipelines.stage import StageConfig, StageError, stage


class SelectConfig(StageConfig):
    """The band. MiMo-7B drops problems with more than 0.9 right of 16, MiniMax-M1 keeps those strictly between 0 and
    0.9, Skywork-OR1 drops 0 and 1: a problem that is always or never solved gives GRPO no advantage."""

    pass_rate: Band = Field((0.1, 0.9), description="least and largest share of right answers, both included")
    model: str = Field("", description="whose pass rates, by its name in the evaluation; empty = its only model")


@stage(version=2, summary="keep the problems that a model solves sometimes")
def select(ctx: Context, config: SelectConfig, *, problems: Problems, scores: Scores) -> Problems:
    if not (scores.path / "samples.parquet").is_file():
        raise StageError("scores: there are no samples of problems in it; name an `eval` stage")
    samples = read_rows(scores.path / "samples.parquet")
    models = list(dict.fromkeys(str(row["model"]) for row in samples))
    if config.model not in models and (config.model or len(models) != 1):
        raise StageError(f"model {config.model!r}: the evaluation scored {', '.join(models)}; name one of them")
    rates = pass_rates([row for row in samples if row["model"] == (config.model or models[0])])
    low, high = config.pass_rate
    kept, dropped = [], dict[str, list[str]](unmeasured=[], too_hard=[], too_easy=[])
    rows = read_rows(problems)
    for row in rows:
        rate = rates.get(str(row["id"]))
        if rate is not None and low <= rate <= high:
            kept.append({**row, "pass_rate": rate})
        else:
            why = "unmeasured" if rate is None else "too_hard" if rate < low else "too_easy"
            dropped[why].append(shown(row))
    counts = {why: len(prompts) for why, prompts in dropped.items()}
    if not kept:
        raise StageError(f"none of {len(rows)} problems is in the band [{low:g}, {high:g}]: {counts}; widen pass_rate")
    write_rows(ctx.out, kept)
    filters = [
        {
            "name": why.replace("_", " "),
            "dropped": len(prompts),
            "examples": [p[:EXAMPLE_CHARS] for p in prompts[:EXAMPLES]],
        }
        for why, prompts in dropped.items()
    ]
    measured = histogram([rates.get(str(row["id"])) for row in rows])
    funnel = {"problems": len(kept), "problem_filters": filters, "pass_rates": measured}
    (ctx.out / "funnel.json").write_text(json.dumps(funnel, indent=1))
    ctx.summary(seen=len(rows), kept=len(kept), **counts)
    return Problems(ctx.out)
