"""`r1 store`: what the artifact store holds, what nobody uses, and whether it is still intact."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli_stages import Workdir
from pipelines.source import ConfigError

if TYPE_CHECKING:
    from pipelines.store import Store
    from pipelines.store_care import Entry

app = typer.Typer(help="List the artifact store, remove what no run uses, check it for damage.", rich_markup_mode=None)


@app.command()
def ls(workdir: Workdir = Path("runs")) -> None:
    """Every artifact: which stage made it, its size and age, and which runs have it.

    \b
      r1 store ls
    """
    from pipelines.plan import align
    from pipelines.store_care import entries, size_text, unused

    found = entries(_store(workdir), workdir)
    if not found:
        typer.echo(f"{workdir / 'store'}: empty")
        return
    rows = [("artifact", "stage", "size", "age", "used by")]
    rows += [(e.folder.name, e.stage or e.kind, size_text(e.size), _age(e), ", ".join(e.users) or "-") for e in found]
    idle = unused(found)
    total = f"{len(found)} in all, {size_text(sum(e.size for e in found))}"
    typer.echo(f"{align(rows)}\n\n{total}; {len(idle)} unused, {size_text(sum(e.size for e in idle))}")


@app.command()
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="remove; without it only say what would go")] = False,
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0, help="leave what is younger")] = 0.0,
    workdir: Workdir = Path("runs"),
) -> None:
    """Remove artifacts, checkpoints and half-written folders that no run of the workdir has.

    \b
      r1 store gc                      say what would go
      r1 store gc --yes --older-than 7
    """
    from pipelines.store_care import entries, remove, size_text, unused

    store = _store(workdir)
    limit = time.time() - older_than * 86400
    with store.alone() if yes else nullcontext(True) as alone:
        if not alone:
            raise ConfigError([f"{store.root}: a run is using the store; collect when it has ended"])
        going = [entry for entry in unused(entries(store, workdir)) if entry.finished <= limit]
        for entry in going:
            typer.echo(f"{'removed' if yes else 'would remove'} {entry.folder.name} ({size_text(entry.size)})")
            if yes:
                remove(entry)
    if not going:
        typer.echo("nothing to remove")
        return
    freed = size_text(sum(entry.size for entry in going))
    typer.echo(f"{freed} {'freed' if yes else 'would be freed; --yes removes them'}")


@app.command()
def verify(
    fix: Annotated[
        bool, typer.Option("--fix", help="remove what is damaged, so that the next run makes it again")
    ] = False,
    workdir: Workdir = Path("runs"),
) -> None:
    """Compare every file of every artifact with the digest it was written with. Exit 1 if one differs.

    `r1 run` does the same for the inputs of each stage that it is about to run.

    \b
      r1 store verify
      r1 store verify --fix
    """
    from pipelines.store_care import damaged, entries, remove

    store = _store(workdir)
    with store.alone() if fix else nullcontext(True) as alone:
        if not alone:
            raise ConfigError([f"{store.root}: a run is using the store; repair it when the run has ended"])
        found = [entry for entry in entries(store, workdir) if entry.kind == "artifact"]
        wrong = damaged(found)
        for entry, what in wrong:
            typer.echo(f"{entry.folder.name} ({', '.join(entry.users) or 'unused'}): {what}")
            if fix:
                remove(entry)
    state = "removed; the next run makes them again" if fix and wrong else "damaged"
    typer.echo(f"{len(found)} artifacts, {len(wrong)} {state}")
    raise typer.Exit(1 if wrong and not fix else 0)


def _store(workdir: Path) -> Store:
    """The store of a workdir. Without one, a slip in `--workdir` would look like a store in good health."""
    from pipelines.store import Store

    if not (workdir / "store").is_dir():
        raise ConfigError([f"{workdir / 'store'}: no such store: `r1 run` makes one; another place is --workdir DIR"])
    return Store(workdir / "store")


def _age(entry: Entry) -> str:
    days = (time.time() - entry.finished) / 86400
    return f"{days:.0f} d" if days >= 2 else f"{days * 24:.0f} h" if days >= 0.1 else f"{days * 1440:.0f} min"
