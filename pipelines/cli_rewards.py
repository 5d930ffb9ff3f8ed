"""`r1 rewards`: which rewards there are, and whether each does what its own cases say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.source import ConfigError

app = typer.Typer(help="List the rewards, and check each on its worked cases.", rich_markup_mode=None)

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
        for problem in result.problems:
            typer.echo(f"     {problem}")
    raise typer.Exit(0 if all(result.ok for result in results) else 1)
