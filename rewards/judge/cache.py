"""Verdicts on the disk, so that no question is paid for twice and a killed run goes on with the verdicts it had.

One SQLite file, shared by any number of worker processes and threads.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

BUSY_S = 30.0  # how long one writer waits for another


class CacheError(RuntimeError):
    """The cache file cannot be used; the message says which and why."""


def cache_key(*what: Any) -> str:
    """sha256 of the canonical JSON of what decides a verdict: model, sampling settings, prompt, number of the vote."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """`get` and `put` of verdicts by key. The folder is made on the first `put`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, key: str) -> str | None:
        """The verdict kept under a key, or None.

        Raises:
            CacheError: the file is no cache or cannot be read.
        """
        if not self._file.exists():
            return None
        try:
            with closing(self._open()) as database:
                row = database.execute("SELECT verdict FROM verdicts WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return None if row is None else str(row[0])

    def put(self, key: str, verdict: str, reply: str) -> None:
        """Keep a verdict and the reply it was read from. The first one kept under a key stays.

        Raises:
            CacheError: the file cannot be written.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", (key, verdict, reply))
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file, timeout=BUSY_S)
        database.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT, reply TEXT)")
        return database

    def _unusable(self, error: Exception) -> CacheError:
        return CacheError(f"the judge's cache {self._file} cannot be used ({error}): mend or delete it")
