"""`r1 rewards`: which rewards there are, whether each does what its own cases say, and how often one is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.source import ConfigError

app = typer.Typer(
    help="List the rewards, check each on its worked cases, audit one on labelled cases.", rich_markup_mode=None
)

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="a file with rewards of your own; repeatable")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="only these rewards")]


@app.command("list")
def list_(plugin: Plugins = None) -> None:
    """All rewards with their settings.

    \b
      r1 rewards list --plugin my_rewards.py
    """
    from rewards.check import list_rewards
    from rewards.registry import RewardError

    try:
        rows = list_rewards(plugin or ())
    except RewardError as error:
        raise ConfigError([str(error)]) from error
    width = max(len(row.name) for row in rows)
    for row in rows:
        typer.echo(f"{row.name:<{width}}  {row.summary}{' [group]' if row.group else ''}")
        if row.knobs:
            typer.echo(f"{'':<{width}}  settings: {row.knobs}")


@app.command()
def check(names: Names = None, plugin: Plugins = None) -> None:
    """Run rewards on their gold and junk cases: every gold must score above every junk. Exit 1 if one does not.

    \b
      r1 rewards check
      r1 rewards check brevity --plugin my_rewards.py
    """
    from rewards.check import check_rewards
    from rewards.registry import RewardError

    try:
        results = check_rewards(names or None, plugin or ())
    except RewardError as error:
        raise ConfigError([str(error)]) from error
    for result in results:
        typer.echo(f"{'ok  ' if result.ok else 'FAIL'} {result.name} ({len(result.cases)} cases)")
        if result.caveat:
            typer.echo(f"     {result.caveat}")
        for problem in result.problems:
            typer.echo(f"     {' '.join(problem.split())}")
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@app.command()
def audit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the reward: math, code, or one of yours")],
    cases: Annotated[Path, typer.Option("--cases", metavar="FILE", help="JSON Lines: one labelled case a line")],
    plugin: Plugins = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="CPU seconds a case may take")] = 10.0,
    failures: Annotated[int, typer.Option(min=0, help="how many wrong verdicts to show")] = 50,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a setting of the reward; repeatable")
    ] = None,
    min_accuracy: Annotated[float, typer.Option(min=0.0, max=1.0, help="exit 1 below this share of right ones")] = 0.0,
) -> None:
    """Grade labelled cases and show false positives, false negatives by kind, latency, and the cases that fail.

    A case is a JSON object with `expected` (true or false) and, for math, `gold` and `completion`; for code, `code` and
    `tests`; for another reward, `completion`, `answer`, `row`. `kind` groups cases, `contested` sets them apart.

    \b
      r1 rewards audit math --cases my_cases.jsonl
      r1 rewards audit brevity --plugin my_rewards.py --cases my_cases.jsonl --min-accuracy 0.95
      r1 rewards audit judge --cases my_cases.jsonl --set url=http://127.0.0.1:8000/v1 --set model=my-judge
    """
    from rewards import audit as auditing
    from rewards.registry import RewardError

    settings = _settings(set_ or ())
    try:
        judged = auditing.audit(name, auditing.read_cases(cases), plugin or (), settings=settings, timeout_s=timeout)
    except RewardError as error:
        raise ConfigError([str(error)]) from error
    for line in auditing.table(judged, failures=failures):
        typer.echo(line)
    raise typer.Exit(0 if auditing.accuracy(judged) >= min_accuracy else 1)


def _settings(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as settings; the value is read as in a pipeline file."""
    import yaml

    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError([f"--set {text}: must be NAME=VALUE, such as model=my-judge"])
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError([f"--set {text}: the value cannot be read"]) from error
    return settings
