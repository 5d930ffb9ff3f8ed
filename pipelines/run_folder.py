"""The folder of one run: `run.json` (what each stage came to) and a link per stage to its artifact."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.artifacts import Report
from pipelines.events import Listener, silent
from pipelines.graph import Node, Pipeline
from pipelines.source import ConfigError, reason
from pipelines.store import Made, held, read_made, write_json

RUN = "run.json"
LOCK = ".lock"
COMPLETE = ("done", "cached")


class RunFolder:
    """`<workdir>/<pipeline name>`. Reading it creates nothing.

    A stage's record: use, from, status (pending, running, done, cached, failed, interrupted), key (of this attempt),
    last_key (of the last complete artifact), artifact (its folder, relative to the run folder), wall_s, error.
    """

    def __init__(self, workdir: Path, name: str) -> None:
        self.workdir = workdir
        self.tell: Listener = silent  # told about everything that is written here
        self.path = workdir / name
        try:
            self.content: dict[str, Any] = json.loads((self.path / RUN).read_text())
        except (OSError, ValueError):
            self.content = {}

    def record(self, stage: str) -> dict[str, Any]:
        """What the last run says about a stage; empty when it says nothing."""
        found: dict[str, Any] = self.content.get("stages", {}).get(stage, {})
        return found

    def last(self, stage: str) -> Made | None:
        """The artifact that the stage's last success left, if the store still has it."""
        artifact = self.record(stage).get("last_artifact")
        return read_made(self.path / artifact) if artifact else None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One `r1 run` per run folder.

        Raises:
            ConfigError: another process is running this pipeline, or there can be no such folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                [f"{self.path}: no folder can be made there ({reason(error)}): choose another --workdir"]
            ) from error

        def taken(pid: str) -> None:
            raise ConfigError([f"{self.path}: process {pid} is running this pipeline (wait for it, or --set name=...)"])

        if not os.access(self.path, os.W_OK):
            raise ConfigError([f"{self.path}: nothing can be written there: choose another --workdir"])
        with held(self.path / LOCK, taken):
            yield

    @property
    def died(self) -> bool:
        """Whether the record says that the run goes on, and no process is running it: it was killed."""
        if self.content.get("status") != "running":
            return False
        try:
            with (self.path / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def begin(self, pipeline: Pipeline) -> None:
        """Start the records of a run: every stage of the file is pending until this run has looked at it.

        Raises:
            ConfigError: where the link to a stage's artifact goes is something else.
        """
        for place in (self.path / node.name for node in pipeline.nodes):
            if place.exists() and not place.is_symlink():
                raise ConfigError(
                    [f"{place}: is in the way of the stage's link: move it away, r1 did not put it there"]
                )
        old = self.content.get("stages", {})
        stages = {node.name: self._fresh(node, old.get(node.name, {})) for node in pipeline.nodes}
        self.content = {
            "name": pipeline.name,
            "file": str(pipeline.file),
            "overrides": list(pipeline.overrides),
            "seed": pipeline.seed,
            "status": "running",
            "started": round(time.time(), 3),
            "stages": stages,
        }
        for name in old.keys() - stages.keys():
            self._unlink(name)
        self._save()
        about = {word: self.content[word] for word in ("name", "file", "seed")}
        self.tell({"event": "run", **about, "stages": list(stages)})

    @staticmethod
    def _fresh(node: Node, old: Mapping[str, Any]) -> dict[str, Any]:
        edges = {slot: [str(ref) for ref in refs] for slot, refs in node.inputs.items()}
        kept = {word: old[word] for word in ("last_key", "last_artifact", "last_status", "error") if word in old}
        return {"use": node.stage.name, "from": edges, "status": "pending", **kept}

    def update(self, stage: str, status: str, **facts: Any) -> None:
        """Set a stage's status (and facts) and write run.json."""
        self._set(stage, status, **facts)
        self._tell(stage, status, facts)

    def _set(self, stage: str, status: str, **facts: Any) -> None:
        record = self.content["stages"][stage]
        if status != "failed":
            record.pop("error", None)
        record.update(status=status, last_status=status, **facts)
        self._save()

    def _tell(self, stage: str, status: str, facts: Mapping[str, Any]) -> None:
        use = self.content["stages"][stage]["use"]
        self.tell({"event": "stage", "stage": stage, "use": use, "status": status, **facts})

    def made(self, stage: str, status: str, artifact: Made) -> None:
        """The stage has its artifact: link it."""
        place = os.path.relpath(artifact.folder.resolve(), self.path.resolve())
        key, wall = artifact.manifest["key"], artifact.manifest["wall_s"]
        facts = {"key": key, "artifact": place, "wall_s": wall}
        self._set(stage, status, last_key=key, last_artifact=place, **facts)
        self._tell(stage, status, {**facts, "metrics": artifact.manifest["metrics"]})
        self._unlink(stage)
        (self.path / stage).symlink_to(place)
        for entry in artifact.manifest["outputs"].values():
            if entry["type"] == Report.__name__:  # a copy: `r1 report` may overwrite it, an artifact never changes
                shutil.copyfile(artifact.folder / entry["path"] / "report.html", self.path / "report.html")

    def end(self, status: str) -> None:
        """Close the run. Links of stages that this run did not reach would show old results: they go."""
        for name, record in self.content["stages"].items():
            if record["status"] not in COMPLETE:
                self._unlink(name)
        self.content.update(status=status, finished=round(time.time(), 3))
        self._save()

    def _unlink(self, stage: str) -> None:
        link = self.path / stage
        if link.is_symlink():
            link.unlink()

    def _save(self) -> None:
        write_json(self.path / RUN, self.content)
