"""Trackers: what stages log arrives there as it is, a missing one is said at once, a failing one is left out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import config, runner, trackers
from pipelines.source import ConfigError
from tests.pipelines.toy_stages import PIPELINE

TEXT = f"report_to: [tensorboard]\n{PIPELINE}"


def run(folder: Path, *overrides: str) -> tuple[int, str]:
    (folder / "p.yaml").write_text(TEXT)
    pipeline = config.load(folder / "p.yaml", ["stages.reason.with.steps=4", *overrides])
    out = io.StringIO()
    listeners = trackers.trackers(pipeline, folder / "runs")
    return runner.run(pipeline, folder / "runs", Console(file=out, width=200), listeners=listeners), out.getvalue()


def test_curves_are_read_back_from_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def curves(stage: str) -> list[list[tuple[int, float]]]:
        found = []
        for place in sorted((tmp_path / f"runs/{trackers.FOLDER}/tensorboard/toy").glob(f"{stage}-*")):
            events = accumulator.EventAccumulator(str(place))
            events.Reload()
            assert events.Tags()["scalars"] == ["loss"]
            found.append([(one.step, pytest.approx(one.value)) for one in events.Scalars("loss")])
        return found

    assert run(tmp_path)[0] == 0
    assert curves("reason") == [[(step, 1 / step) for step in range(1, 5)]]
    assert run(tmp_path)[0] == 0  # cached: nothing is logged twice
    assert len(curves("reason")) == 1 and len(curves("reason")[0]) == 4
    run(tmp_path, "stages.reason.with.lr=1e-4")  # another key: curves of their own
    assert len(curves("reason")) == 2
    assert run(tmp_path, "stages.cold.with.lr=1e-4", "stages.cold.with.trouble=fail")[0] == 1
    (tmp_path / "healed").touch()
    assert run(tmp_path, "stages.cold.with.lr=1e-4", "stages.cold.with.trouble=fail")[0] == 0
    assert sorted(map(len, curves("cold"))) == [3, 3]  # the killed one went on where it was


def test_a_tracker_that_is_missing_or_unknown_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.yaml").write_text(TEXT)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "p.yaml", ["report_to=[tensorboard,wnadb]"])
    assert [line.partition("report_to.")[2] for line in caught.value.lines] == [
        "0: tensorboard is not installed here: pip install tensorboard",
        "1: no such tracker: 'wnadb' (did you mean wandb?)",
    ]


@pytest.mark.parametrize("where", ["start", "log", "close"])
def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Failing:
        def __init__(self, *about: Any) -> None:
            opened.append(about)
            if where == "start":
                raise OSError("no space left")

        def log(self, step: int, numbers: Any) -> None:
            assert numbers == {"loss": 1 / step}
            if where == "log":
                raise OSError("no space left")

        def close(self) -> None:
            raise OSError("no space left")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Failing)
    monkeypatch.setattr(trackers, "missing", lambda name: "")
    monkeypatch.setattr(config, "missing", lambda name: "")
    with pytest.warns(UserWarning, match="report_to: tensorboard is left out from here on: no space left"):
        assert run(tmp_path)[0] == 0
    assert len(opened) == 1
