"""Experiment trackers: what stages log goes to TensorBoard, Weights & Biases or Trackio as it is written.

`report_to: [tensorboard]` in the pipeline file turns one on. A tracker is no part of any stage's key; one that fails is
left out for the rest of the run, with a warning, and the run goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pipelines.events import Event
from pipelines.graph import Pipeline

FOLDER = "trackers"  # in the workdir, beside the runs


class Writer(Protocol):
    """One stage's curves in one tracker."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `<folder>/tensorboard/<run>/<stage>-<key>`: `tensorboard --logdir` on any of them."""

    def __init__(self, folder: Path, run: str, stage: str, config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed process wrote from this step on is written again.
        self._writer: Any = SummaryWriter(folder / "tensorboard" / run / stage, purge_step=step)
        self._writer.add_text("config", "\n".join(f"    {name}: {value}" for name, value in config.items()))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run for each stage, grouped by pipeline. Offline (`wandb sync`) unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, run: str, stage: str, config: Mapping[str, Any], step: int) -> None:
        import wandb  # type: ignore[import-not-found,unused-ignore]

        place = folder / "wandb" / run / stage
        place.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run: Any = wandb.init(
            project="r1",
            group=run,
            name=f"{run}/{stage}",
            id=f"{run}-{stage}",
            config=dict(config),
            dir=str(place),
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A project for each pipeline and a run in it for each stage, in Trackio's own folder: `trackio show`."""

    def __init__(self, folder: Path, run: str, stage: str, config: Mapping[str, Any], step: int) -> None:
        import trackio  # type: ignore[import-not-found,unused-ignore]

        plain = {
            name: str(value) if isinstance(value, dict | list | tuple) else value for name, value in config.items()
        }
        self._run: Any = trackio.init(
            project=run, name=stage, config=plain, resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, str, str, Mapping[str, Any], int], Writer]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def missing(name: str) -> str:
    """Why a known tracker cannot be used here, with the way out; '' where it can."""
    if importlib.util.find_spec(name) is not None:
        return ""
    return f"{name} is not installed here: pip install {name}"


class Tracker:
    """Listens to the events of a run and keeps a writer open for the stage that is running."""

    def __init__(self, name: str, pipeline: Pipeline, folder: Path) -> None:
        self._name, self._pipeline, self._folder = name, pipeline, folder
        self._place = ""
        self._writer: Writer | None = None
        self._broken = False

    def __call__(self, event: Event) -> None:
        if self._broken:
            return
        try:
            with contextlib.redirect_stdout(sys.stderr):  # some greet on standard output
                self._take(event)
        except Exception as error:  # whatever a tracker does, it must not cost the run
            self._broken = True
            warnings.warn(f"report_to: {self._name} is left out from here on: {error}", stacklevel=2)

    def _take(self, event: Event) -> None:
        if event["event"] == "stage" and event["status"] == "running":
            self._place = f"{event['stage']}-{event['key'][:8]}"
        elif event["event"] == "stage" and self._writer is not None:
            self._writer.close()
            self._writer = None
        elif event["event"] == "step":
            numbers = {
                name: value for name, value in event.items() if _is_number(value) and name not in ("step", "time")
            }
            if self._writer is None:
                config = self._pipeline.node(event["stage"]).config.model_dump(mode="json")
                make = TRACKERS[self._name]
                self._writer = make(self._folder, self._pipeline.name, self._place, config, event["step"])
            self._writer.log(event["step"], numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def trackers(pipeline: Pipeline, workdir: Path) -> list[Tracker]:
    """A listener for each tracker that the pipeline reports to."""
    return [Tracker(name, pipeline, workdir / FOLDER) for name in pipeline.report_to]
