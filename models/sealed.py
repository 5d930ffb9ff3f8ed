"""Folders that say of themselves whether they are what was written: a digest of every file, put down last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEAL = "sealed.json"
DIGEST = "sha256"  # the key under which a JSON object holds the digest of the rest of itself

Contents = Mapping[str, Mapping[str, Any]]
"""{file, relative with '/': {"sha256": hexadecimal, "size": bytes}}"""


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of several files of a folder; hashing runs beside the lock of the interpreter."""
    listed = list(names)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(listed, pool.map(lambda name: file_digest(folder / name), listed), strict=True))


def size_flaw(folder: Path, contents: Contents) -> str:
    """Which file of a folder is missing or has another size than written down; '' when none is."""
    for name, entry in contents.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != entry["size"]:
            return f"{name} has {size} bytes instead of {entry['size']}"
    return ""


def content_flaw(folder: Path, contents: Contents) -> str:
    """What is wrong with the files of a folder, their sha256 included; '' when they are what was written."""
    if found := size_flaw(folder, contents):
        return found
    for name, digest in file_digests(folder, contents).items():
        if digest != (written := contents[name][DIGEST]):
            return f"{name} is not what was written (sha256 {digest[:12]} instead of {str(written)[:12]})"
    return ""


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the sha256 of its canonical form as the last key."""
    return {**content, DIGEST: _canonical_digest(content)}


def intact(content: Mapping[str, Any]) -> bool:
    """Whether an object that `signed` made is still the same."""
    return content.get(DIGEST) == _canonical_digest({key: value for key, value in content.items() if key != DIGEST})


def _canonical_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> None:
    """Write down every file of a folder with its digest, all of it on the disk when this returns."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != SEAL)
    for name in names:
        _flush(folder / name)
    files = {
        name: {DIGEST: digest, "size": (folder / name).stat().st_size}
        for name, digest in file_digests(folder, names).items()
    }
    (folder / SEAL).write_text(json.dumps(signed({"files": files}), indent=1), encoding="utf-8")
    for path in (folder / SEAL, *(p for p in folder.rglob("*") if p.is_dir()), folder):
        _flush(path)


def flaw(folder: Path) -> str:
    """What is wrong with a sealed folder; '' when it is whole and every byte is as written."""
    try:
        content = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        if not intact(content):
            return f"{SEAL} is not what was written"
    except FileNotFoundError:
        return f"it has no {SEAL}: it was never finished"
    except (OSError, ValueError, AttributeError):
        return f"{SEAL} cannot be read"
    return content_flaw(folder, content["files"])


def publish(folder: Path, place: Path) -> None:
    """Seal a folder and move it to its place in one step; what was there goes first."""
    seal(folder)
    if place.exists():
        shutil.rmtree(place)
    os.replace(folder, place)
    _flush(place.parent)


def _flush(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of names, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
