"""The content-addressed store: an artifact is complete or absent, never half.

A stage writes into `.tmp-<kind>-<key16>`; the manifest is written last and `os.replace` moves the folder into place.
A lock per key, which the kernel drops when its process dies, tells a running stage from what a killed one left.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from models.sealed import DIGEST, content_flaw, contents, intact, signed, size_flaw
from pipelines.artifacts import KINDS, MARKS, Artifact
from pipelines.keys import MANIFEST, Identity, files_of, tree_digest
from pipelines.source import ConfigError, reason

FORMAT = 2  # 1 had no digest of the manifest itself


@dataclass(frozen=True, slots=True)
class Made:
    """A complete artifact folder with its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    def output(self, name: str) -> Artifact:
        """One of its outputs ('' is the only one) as a typed artifact."""
        entry = self.manifest["outputs"][name]
        return KINDS[entry["type"]](self.folder / entry["path"])

    def digest(self, name: str) -> str:
        return str(self.manifest["outputs"][name]["digest"])


class Store:
    """Artifacts under `root`, one folder `<kind>-<first 16 digits of the key>` each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: str) -> Path:
        return self.root / f"{kind}-{key[:16]}"

    def temp(self, kind: str, key: str) -> Path:
        return self.root / f".tmp-{kind}-{key[:16]}"

    def scratch(self, kind: str, key: str) -> Path:
        return self.root / ".scratch" / f"{kind}-{key[:16]}"

    def find(self, kind: str, key: str) -> Made | None:
        """The complete artifact of this key, or None. One with files missing or cut short does not count."""
        made = read_made(self.folder(kind, key))
        if made is None or made.manifest.get("key") != key or damage(made):
            return None
        return made

    def all(self) -> list[Made]:
        """Every complete artifact, damaged ones included."""
        folders = [f for f in self.root.iterdir() if not f.name.startswith(".")] if self.root.is_dir() else []
        return list(filter(None, map(read_made, folders)))

    @contextmanager
    def lock(self, kind: str, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold this key against other processes; `waiting(pid)` is called once if another one holds it."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / f"{kind}-{key[:16]}", waiting):
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use the store: runs do so together, while nothing may be removed from it.

        Raises:
            ConfigError: there can be no such folder.
        """
        try:
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                [f"{self.root}: no store can be there ({reason(error)}): choose another --workdir"]
            ) from error
        with (self.root / ".locks" / "store").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            _open_locks.add(file)
            try:
                yield
            finally:
                _open_locks.discard(file)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no run uses the store; while it yields True none can begin."""
        try:
            (self.root / ".locks").mkdir(exist_ok=True)
            file = (self.root / ".locks" / "store").open("a")
        except OSError as error:
            raise ConfigError([f"{self.root}: cannot be written: {reason(error)}"]) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def discard(self, made: Made) -> None:
        """Remove a damaged artifact, so that it is made again."""
        shutil.rmtree(made.folder, ignore_errors=True)

    def open(self, kind: str, key: str) -> tuple[Path, Path]:
        """Fresh temp folder and the (kept) scratch folder of a key. Hold its lock."""
        temp, scratch = self.temp(kind, key), self.scratch(kind, key)
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        return temp, scratch

    def commit(self, identity: Identity, outputs: Mapping[str, Artifact], about: Mapping[str, Any]) -> Made:
        """Turn the temp folder into the artifact: digests, manifest, one rename. The scratch folder goes.

        outputs: what the stage returned, with paths inside the temp folder. about: further facts for the manifest.
        """
        key = identity.key
        temp, folder = self.temp(identity.kind, key), self.folder(identity.kind, key)
        found = contents(temp, [name for name in files_of(temp) if name != MANIFEST])
        manifest: dict[str, Any] = {"format": FORMAT, **about, "key": key, **identity.as_json()}
        manifest["outputs"] = {}
        for name, artifact in outputs.items():
            path = artifact.path.resolve().relative_to(temp.resolve()).as_posix()
            below = "" if path == "." else f"{path}/"
            inside = {f.removeprefix(below): entry[DIGEST] for f, entry in found.items() if f.startswith(below)}
            entry = {"type": type(artifact).__name__, "path": path, "digest": tree_digest(inside)}
            manifest["outputs"][name] = entry
        manifest["contents"] = found
        manifest["finished"] = round(time.time(), 3)
        write_json(temp / MANIFEST, signed(json.loads(json.dumps(manifest))), durable=True)
        if folder.exists():  # a damaged one: `find` did not accept it
            shutil.rmtree(folder)
        os.replace(temp, folder)
        shutil.rmtree(self.scratch(identity.kind, key), ignore_errors=True)
        return Made(folder, manifest)

    def drop_temp(self, kind: str, key: str) -> None:
        shutil.rmtree(self.temp(kind, key), ignore_errors=True)

    def clean(self) -> list[str]:
        """Remove what dead processes left, temp folders and scratch folders of what is made since; their names."""
        left = {temp: temp.name.removeprefix(".tmp-") for temp in sorted(self.root.glob(".tmp-*"))}
        done = [path for path in sorted(self.root.glob(".scratch/*")) if read_made(self.root / path.name) is not None]
        removed = []
        for folder, key in {**left, **{path: path.name for path in done}}.items():
            lock = self.root / ".locks" / key
            lock.parent.mkdir(exist_ok=True)
            with lock.open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        return removed


def read_made(folder: Path) -> Made | None:
    """An artifact folder with its manifest; None when it is none, or the manifest is not what was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return Made(folder, manifest) if manifest.get("format") == FORMAT and intact(manifest) else None


def damage(made: Made) -> str:
    """Which of an artifact's files is missing or has another size; '' when none is. Digests: see `store_care`."""
    return size_flaw(made.folder, made.manifest["contents"])


def flaw_in(folder: Path, names: Collection[str]) -> str:
    """What is wrong with an artifact's manifest, or with those of its files that have one of `names`; '' when nothing.

    For those who read a few small files and need not hash the weights beside them. A folder without a manifest is no
    artifact, and nothing is known about it: ''.
    """
    made = read_made(folder)
    if made is None:
        return f"{MANIFEST} is not what was written" if (folder / MANIFEST).exists() else ""
    written = made.manifest["contents"]
    return content_flaw(folder, {name: entry for name, entry in written.items() if Path(name).name in names})


def check_output(artifact: Artifact) -> str:
    """What an output lacks to be of its type; '' when nothing."""
    mark = MARKS[type(artifact)]
    return "" if (artifact.path / mark).is_file() else f"a {type(artifact).__name__} needs {mark}"


def write_json(path: Path, content: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write a JSON file whole or not at all; `durable`: on the disk before anyone sees it."""
    temp = path.with_name(f".{path.name}.tmp")
    with temp.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temp, path)


_open_locks: set[IO[str]] = set()


def _close_in_child() -> None:
    for file in _open_locks:
        file.close()
    _open_locks.clear()


# A forked child would share the lock: as an orphan it would hold it after the parent was killed.
os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def held(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file, which keeps the pid of its holder. Blocks; `waiting(pid)` is called first."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting(file.read().strip() or "?")
            fcntl.flock(file, fcntl.LOCK_EX)
        _open_locks.add(file)
        try:
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
        finally:
            _open_locks.discard(file)
