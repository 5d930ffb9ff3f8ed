"""A journal gives back what was written, and nothing that was changed or cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import journal
from pipelines.context import Context

LINES = [{"first": i, "groups": [["<think>é</think>", i / 3]]} for i in range(4)]


def written(file: Path) -> Path:
    file.unlink(missing_ok=True)
    for line in LINES:
        journal.append(file, line)
    return file


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "none") == []
    assert journal.read(written(tmp_path / "j")) == LINES
    journal.rewrite(tmp_path / "j", LINES[:2])
    assert journal.read(tmp_path / "j") == LINES[:2] and [p.name for p in tmp_path.iterdir()] == ["j"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_or_cut_line_is_none_and_the_others_stay(tmp_path: Path, data: st.DataObject) -> None:
    file = written(tmp_path / "j")
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = content[:place]
    file.write_bytes(content)
    found: list[Any] = [line for line in journal.read(file) if line is not None]
    assert all(line in LINES for line in found) and found == sorted(found, key=lambda line: line["first"])
    assert len(found) >= place // (len(written(file).read_bytes()) / len(LINES)) - 1  # those before it are there


def context(folder: Path) -> Context:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(folder / "out", 0, folder / "scratch")


def test_metrics_after_a_resume_have_no_gap_and_no_line_twice(tmp_path: Path) -> None:
    first = context(tmp_path / "a")
    for step in range(1, 6):
        first.log(step, loss=1 / step)
    lines = journal.read(tmp_path / "a/scratch/metrics.jsonl")
    for life in range(3):  # each killed after a checkpoint of step 3
        (tmp_path / f"life{life}/out").mkdir(parents=True)
        ctx = Context(tmp_path / f"life{life}/out", 0, tmp_path / "a/scratch")
        assert ctx.resumed(3) == lines[:3]
        ctx.log(4, loss=0.25)
        told = (ctx.out / "metrics.jsonl").read_text().splitlines()
        assert len(told) == 4 and "sha256" not in told[0]
    anew = Context(tmp_path / "life0/out", 0, tmp_path / "a/scratch")
    (anew.out / "metrics.jsonl").unlink()
    anew.log(1, loss=1.0)
    assert [line["step"] for line in journal.read(anew.scratch / "metrics.jsonl") if line] == [1]
