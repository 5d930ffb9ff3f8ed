"""The report of a run: a table for the terminal and one self-contained page.

It reads what stages left behind and is called by none of them, so an old, a half-finished and a failed run can all
be reported, and a report can be made again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.report_data import REPAIR, Run, load_run, load_scores, mapping, number
from pipelines.report_measures import measured
from pipelines.report_page import best_at_k, duration, finished, html, margin, percent
from pipelines.report_svg import pretty

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipelines.report_data import ScoreSet


Warn = Callable[[str], None]


def _complain(line: str) -> None:
    print(line, file=sys.stderr)


def render(run_dir: Path, warn: Warn = _complain) -> Path:
    """Write `report.html` of the run in `run_dir` (the folder with run.json) and return its path.

    Raises FileNotFoundError when the folder is no run. Missing stages, metrics and fields leave gaps, not errors.
    `warn` is told about stages that are left out because they are not what was written.
    """
    run = load_run(run_dir)
    _warn(run, warn)
    return _write(run_dir / "report.html", html(run))


def render_stage(scores: Path, run_dir: Path | None, target: Path, warn: Warn, title: str | None = None) -> Path:
    """Write to `target` what the `report` stage makes: the page of the run around it as it stands.

    `scores` is the folder of a Scores artifact. Without a run (the stage was called by hand), or in a run that holds
    no scores of its own, the page shows these scores and the stage that made them.
    """
    run = load_run(run_dir) if run_dir and (run_dir / "run.json").is_file() else Run("scores", [], [])
    _warn(run, warn)
    if not run.scores:
        run = replace(load_scores(scores), name=run.name)
    return _write(target, html(replace(run, name=title or run.name)))


def _warn(run: Run, warn: Warn) -> None:
    for line in run.damage():
        warn(f"{line}; left out of the page. {REPAIR}.")


def _write(path: Path, page: str) -> Path:
    """Replace the file in one move, so that a reader never sees half a page."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def print_table(run_dir: Path, console: Console) -> None:
    """Print the scores of every eval stage of the run, then each stage's wall time."""
    run = load_run(run_dir)
    for scores in run.scores:
        console.print(score_table(scores))
        if table := measure_table(scores):
            console.print(table)
    console.print(stage_table(run))


def score_table(scores: ScoreSet) -> Table:
    """Models in pipeline order: pass@1 and its 95% interval, overall and per family, then the rest."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    families = scores.graded_families()
    k = next((best_at_k(m)[0] for m in scores.models.values()), "k")
    table = Table(box=box.SIMPLE_HEAD, title=f"pass@1 in % ±95% ({scores.stage})", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in ["all", *families] if len(families) > 1 else ["all"]:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name in (f"pass@{k}", f"cons@{k}", "tokens", "finished"):
        table.add_column(name, justify="right", style="dim")
    last = list(scores.models)[-1]
    for name, m in scores.models.items():
        parts = [mapping(mapping(m.get("families")).get(f)) for f in families] if len(families) > 1 else []
        cells = [Text.assemble(percent(p.get("pass@1")), (f" {margin(p)}", "dim")) for p in [m, *parts]]
        rest = [best_at_k(m)[1], percent(m.get("cons@k")), pretty(number(m.get("mean_tokens"))), finished(m)]
        table.add_row(Text(name), *cells, *rest, style="bold" if name == last else "")
    return table


def measure_table(scores: ScoreSet) -> Table | None:
    """What the models were measured by beside right and wrong, with 95% intervals; None where that is nothing."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    measures = measured(scores.models, scores.protocol)
    table = Table(box=box.SIMPLE_HEAD, title=f"measures ±95%, shares in % ({scores.stage})", title_justify="left")
    table.add_column("model", no_wrap=True)
    for measure in measures:
        table.add_column(Text(measure.title), justify="right")
    for name, m in scores.models.items():
        cells = [Text.assemble(value, (f" {spread}", "dim")) for value, spread in (one.cell(m) for one in measures)]
        table.add_row(Text(name), *cells)
    return table if measures else None


def stage_table(run: Run) -> Table:
    """Each stage with its kind, what became of it and the seconds it took when it was made."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    total = sum(s.wall_s or 0.0 for s in run.stages)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("stage", "total", no_wrap=True)
    table.add_column("use")
    table.add_column("status")
    table.add_column("time", duration(total), justify="right", no_wrap=True)
    for stage in run.stages:
        table.add_row(Text(stage.name), Text(stage.kind), Text(stage.status), duration(stage.wall_s))
    return table
