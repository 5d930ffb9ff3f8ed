"""Files of JSON lines, each with its own digest: a line that was cut off by a kill, or changed since, is found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.sealed import DIGEST, intact, signed


def append(file: Path, content: Mapping[str, Any]) -> None:
    """Add one line, on the disk when this returns. `content` holds JSON values and no key named `sha256`."""
    with file.open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(signed(content)) + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def read(file: Path) -> list[dict[str, Any] | None]:
    """The content of every line, None for a line that is damaged or cut off; empty where there is no file."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [_content(line) for line in lines]


def rewrite(file: Path, contents: Iterable[Mapping[str, Any]]) -> None:
    """Replace a journal by these lines, whole or not at all."""
    temp = file.with_name(f".{file.name}.tmp")
    temp.unlink(missing_ok=True)
    temp.touch()
    for content in contents:
        append(temp, content)
    os.replace(temp, file)


def _content(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or not intact(content):
        return None
    del content[DIGEST]
    return content
