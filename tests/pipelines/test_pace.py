"""Every progress bar leaves behind how fast its work went, with the start apart."""

from __future__ import annotations

from pathlib import Path

from pipelines.context import Context, Pace


def test_the_first_advance_holds_the_start_and_the_rest_the_speed() -> None:
    pace = Pace("draw")
    for units, seconds in ((128, 9.0), (128, 11.0), (64, 12.0)):
        pace.note(units, seconds)
    assert (pace.first, pace.first_s, pace.rest, pace.rest_s) == (128, 9.0, 192, 3.0)


def test_bars_that_did_nothing_are_left_out(tmp_path: Path) -> None:
    ctx = Context(tmp_path, 0, tmp_path)
    ctx.progress("idle", 3)
    with ctx.progress("work", 4) as bar:
        bar.advance(0)
        bar.advance(3)
    (told,) = ctx.speeds()
    assert told["what"] == "work" and told["first"] == 3 and told["rest"] == 0
