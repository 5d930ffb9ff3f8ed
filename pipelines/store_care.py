"""What the store holds, which of it is used, and whether it is still what was written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.sealed import content_flaw
from pipelines.keys import MANIFEST
from pipelines.run_folder import RUN, RunFolder
from pipelines.store import Made, Store, read_made

UNFINISHED = ("running", "interrupted", "failed")  # a stage in one of these may go on from its scratch folder


@dataclass(frozen=True, slots=True)
class Entry:
    """One folder of the store. `users`: RUN/STAGE for each stage of a run that has it; `kind`: artifact or leftover."""

    folder: Path
    kind: str
    stage: str
    size: int
    finished: float
    users: tuple[str, ...]


def corruption(made: Made) -> str:
    """What is wrong with an artifact, its files' sha256 included; '' when it is what was written."""
    return content_flaw(made.folder, made.manifest["contents"])


def entries(store: Store, workdir: Path) -> list[Entry]:
    """Every artifact and every leftover, oldest first."""
    users = _users(workdir)
    found = []
    for folder in _folders(store):
        made = read_made(folder)
        about = made.manifest if made is not None else {}
        leftover = folder.name.startswith(".") or folder.parent != store.root
        found.append(
            Entry(
                folder,
                "leftover" if leftover else "artifact",
                str(about.get("stage", "")),
                sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
                float(about.get("finished") or folder.stat().st_mtime),
                tuple(users.get(folder.name.removeprefix(".tmp-"), ())),
            )
        )
    return sorted(found, key=lambda entry: entry.finished)


def _folders(store: Store) -> Iterator[Path]:
    if not store.root.is_dir():
        return
    for folder in sorted(store.root.iterdir()):
        if folder.is_dir() and (not folder.name.startswith(".") or folder.name.startswith(".tmp-")):
            yield folder
    scratch = store.root / ".scratch"
    yield from sorted(scratch.iterdir()) if scratch.is_dir() else ()


def _users(workdir: Path) -> dict[str, list[str]]:
    """Names of store folders that runs of this workdir have, or would go on from."""
    users: dict[str, list[str]] = {}
    for file in sorted(workdir.glob(f"*/{RUN}")):
        run = RunFolder(workdir, file.parent.name)
        for stage, record in run.content.get("stages", {}).items():
            named = {Path(record[word]).name for word in ("artifact", "last_artifact") if record.get(word)}
            if record.get("status") in UNFINISHED and record.get("key"):
                named.add(f"{record['use']}-{record['key'][:16]}")
            for name in named:
                users.setdefault(name, []).append(f"{file.parent.name}/{stage}")
    return users


def unused(found: list[Entry]) -> list[Entry]:
    """The entries that no run has: what a collection removes."""
    return [entry for entry in found if not entry.users]


def remove(entry: Entry) -> None:
    """Delete one entry: renamed first, so that a kill in the middle leaves a leftover and not half an artifact."""
    gone = entry.folder.with_name(f".tmp-gone-{entry.folder.name.removeprefix('.tmp-')}")
    with suppress(OSError):
        os.replace(entry.folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
    shutil.rmtree(entry.folder, ignore_errors=True)


def damaged(found: list[Entry]) -> list[tuple[Entry, str]]:
    """The artifacts whose files are not what was written, each with what is wrong."""
    checked: list[tuple[Entry, str]] = []
    for entry in (entry for entry in found if entry.kind == "artifact"):
        made = read_made(entry.folder)
        if what := f"{MANIFEST} is not what was written" if made is None else corruption(made):
            checked.append((entry, what))
    return checked


def size_text(size: float) -> str:
    """Bytes as a person says them: 12 B, 3.4 kB, 5.1 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
