"""Runs the stages of a pipeline in order, each at most once, and leaves nothing half-written."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import isolation, plan, provenance
from pipelines.artifacts import Artifact
from pipelines.context import METRICS, Context
from pipelines.events import Event, Listener
from pipelines.gates import judge
from pipelines.graph import Node, Pipeline
from pipelines.keys import Identity
from pipelines.resolve import Resolver
from pipelines.run_folder import RunFolder
from pipelines.signals import Interrupts, interrupts
from pipelines.stage import ONLY, StageError
from pipelines.store import Made, Store, check_output
from pipelines.store_care import corruption

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, STOPPED, INTERRUPTED = 0, 1, 3, 130  # exit codes


def run(
    pipeline: Pipeline,
    workdir: Path,
    console: Console,
    *,
    until: str | None = None,
    listeners: Sequence[Listener] = (),
) -> int:
    """Make every stage of the pipeline that is not made yet (`until`: only that stage and what it needs).

    `listeners` are told what happens (`pipelines.events`). Returns the exit code: 0, 1 when a stage failed, 3 when a
    stage's `needs` are not met, 130 when interrupted (SIGINT, SIGTERM, SIGHUP).

    Raises:
        ConfigError: another process is running this pipeline, or programs cannot be isolated as it asks for.
    """
    isolation.require((pipeline.until(until) if until else pipeline).nodes)
    folder = RunFolder(workdir, pipeline.name)

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    folder.tell = tell
    store = Store(workdir / "store")
    with folder.lock(), store.shared():
        return _Run(pipeline, store, folder, console).go(until)


class _Run:
    """One call of `run`: what the stages of it share."""

    def __init__(self, pipeline: Pipeline, store: Store, folder: RunFolder, console: Console) -> None:
        self.pipeline, self.store, self.folder, self.console = pipeline, store, folder, console
        self.resolver = Resolver(pipeline, store)
        self.width = max(len(node.name) for node in pipeline.nodes)
        self.facts: dict[str, Any] | None = None

    def go(self, until: str | None) -> int:
        started, ran = time.monotonic(), 0
        self.store.clean()
        reasons = {row.name: row.reason for row in plan.rows(self.pipeline, self.folder, self.store)}
        nodes = (self.pipeline.until(until) if until else self.pipeline).nodes
        for name in self._discard_damaged(nodes):
            reasons[name] = "damaged in the store"
        with interrupts() as signals:
            self.folder.begin(self.pipeline)
            for node in nodes:
                began = time.monotonic()
                try:
                    if (unmet := self._unmet(node)) is not None:
                        signals.cleaning = True
                        return self._stopped(node, unmet)
                    ran += self._step(node, reasons[node.name], signals)
                    if signals.asked:  # it came in a moment that must not be cut short
                        raise KeyboardInterrupt
                except (KeyboardInterrupt, Exception, SystemExit) as error:
                    signals.cleaning = True
                    if signals.asked or isinstance(error, KeyboardInterrupt):
                        return self._interrupted(node, time.monotonic() - began)
                    return self._failed(node, error, time.monotonic() - began)
            signals.cleaning = True
            self._keep_unreached(nodes)
            self.folder.end("done" if until is None else "partial")
        stages = f"{len(nodes)} stage{'s' * (len(nodes) != 1)}"
        counts = f"{stages}, {len(nodes) - ran} cached, {plan.duration(time.monotonic() - started)}"
        self._say(f"{self.folder.path}: {counts}")
        return DONE

    def _unmet(self, node: Node) -> str | None:
        """Why a stage must not begin; None where it has no gate or the gate is open."""
        if node.gate is None:
            return None
        try:
            verdict = judge(node.gate, self.resolver.made[node.gate.scores].output(ONLY).path)
        except KeyError as error:
            raise StageError(f"needs: {error.args[0]}") from error
        if not verdict.passed:
            return str(verdict)
        self._line(node, "needs met", str(verdict))
        return None

    def _stopped(self, node: Node, why: str) -> int:
        self.folder.update(node.name, "stopped", error=why)
        self.folder.end("stopped")
        self._say(f"Stopped before {node.name}: {why} (scores: {node.gate.scores if node.gate else ''}).")
        kept = ", ".join(self.resolver.made)
        self._say(f"Kept: {kept}. Change what leads to it, or its `needs`; the same command goes on from there.")
        return STOPPED

    def _discard_damaged(self, nodes: tuple[Node, ...]) -> list[str]:
        """Compare what the stages to be run will read with its digests; what differs is removed and made again."""
        resolver = Resolver(self.pipeline, self.store)
        for node in nodes:
            if not resolver.missing(node):
                resolver.find(node, resolver.identity(node))
        made, checked, damaged = dict(resolver.made), set(), []
        for node in reversed(nodes):
            if node.name in made:
                continue
            for parent in [name for name in node.parents() if name in made and name not in checked]:
                checked.add(parent)
                if what := corruption(made[parent]):
                    self._say(f"{parent}: damaged in the store, is made again: {what}")
                    self.store.discard(made.pop(parent))
                    damaged.append(parent)
        return damaged

    def _step(self, node: Node, reason: str, signals: Interrupts) -> bool:
        """Make one stage. True when its body ran, False when it was there already."""
        identity = self.resolver.identity(node)
        cached = self.resolver.find(node, identity)
        if cached is None:

            def waiting(pid: str) -> None:
                self._line(node, "waiting", f"process {pid} is making the same artifact")

            with self.store.lock(identity.kind, identity.key, waiting):
                cached = self.resolver.find(node, identity)  # another process may have made it meanwhile
                if cached is None:
                    self._line(node, "running", reason)
                    self.folder.update(node.name, "running", key=identity.key)
                    made = self._make(node, identity, signals)
                    self.resolver.made[node.name] = made
                    self.folder.made(node.name, "done", made)
                    numbers = " ".join(f"{k}={_short(v)}" for k, v in list(made.manifest["metrics"].items())[:6])
                    self._line(node, f"done in {plan.duration(made.manifest['wall_s'])}", numbers)
                    return True
        self.folder.made(node.name, "cached", cached)
        self._line(node, "cached", f"made in {plan.duration(cached.manifest['wall_s'])}")
        return False

    def _make(self, node: Node, identity: Identity, signals: Interrupts) -> Made:
        temp, scratch = self.store.open(identity.kind, identity.key)
        rewards = self.pipeline.rewards if node.stage.uses_rewards else {}

        def listen(event: Event) -> None:
            self.folder.tell({"event": event["event"], "stage": node.name, **event})

        ctx = Context(temp, identity.seed, scratch, rewards, self.pipeline.base, self.folder.path, self.console, listen)
        started = time.monotonic()
        try:
            result = node.stage.body(ctx, node.config, **self.resolver.arguments(node))
            ctx.close()
            if signals.asked:  # the body swallowed the interrupt: what it returned may be cut short
                raise KeyboardInterrupt
            about = {
                "stage": node.name,
                "refs": {slot: [str(ref) for ref in refs] for slot, refs in node.inputs.items()},
                "pipeline": {"name": self.pipeline.name, "seed": self.pipeline.seed},
                "wall_s": round(time.monotonic() - started, 3),
                "metrics": ctx.numbers,
                "device": provenance.device(),
                **self._provenance(),
            }
            return self.store.commit(identity, _outputs(node, result, temp), about)
        finally:
            signals.cleaning = True
            ctx.close()
            self.store.drop_temp(identity.kind, identity.key)
            signals.cleaning = False

    def _provenance(self) -> Mapping[str, Any]:
        if self.facts is None:
            self.facts = {"versions": provenance.versions(), "git": provenance.git_commit()}
        return self.facts

    def _keep_unreached(self, reached: tuple[Node, ...]) -> None:
        """After `--until`: later stages whose artifact is still the right one stay linked."""
        names = {node.name for node in reached}
        for node in self.pipeline.nodes:
            if node.name not in names and not self.resolver.missing(node):
                made = self.resolver.find(node, self.resolver.identity(node))
                if made is not None:
                    self.folder.made(node.name, "cached", made)

    def _interrupted(self, node: Node, seconds: float) -> int:
        if node.name not in self.resolver.made:
            self.folder.update(node.name, "interrupted")
        self.folder.end("interrupted")
        key = self.folder.record(node.name).get("key", "")
        kept = ", ".join(self.resolver.made) or "nothing yet"
        scratch = self.store.scratch(node.stage.name, key)
        checkpoint = f" and a checkpoint of {node.name}" if key and has_checkpoint(scratch) else ""
        self._say(
            f"Interrupted in {node.name} after {plan.duration(seconds)}. Kept: {kept}{checkpoint}. "
            "The same command goes on from there."
        )
        return INTERRUPTED

    def _failed(self, node: Node, error: BaseException, seconds: float) -> int:
        text = str(error).strip() if isinstance(error, StageError) else f"{type(error).__name__}: {error}".strip()
        self.folder.update(node.name, "failed", error=text.splitlines()[0][:500] if text else type(error).__name__)
        self.folder.end("failed")
        self._say(f"{node.name} ({node.stage.name}) failed after {plan.duration(seconds)}: {text}")
        if not isinstance(error, StageError):
            log = self.folder.path / f"{node.name}.error.txt"
            log.write_text("".join(traceback.format_exception(error)))
            self._say(f"traceback: {log}")
        below = [n.name for n in self.pipeline.nodes if n.name not in self.resolver.made and n.name != node.name]
        if below:
            self._say(f"not run: {', '.join(below)}")
        return FAILED

    def _line(self, node: Node, status: str, rest: str = "") -> None:
        self._print(f"{node.name:<{self.width}}  {node.stage.name:<9} {status:<14} {rest}".rstrip())
        if status in ("waiting", "needs met"):  # the others are statuses of the stage, told with it
            self.folder.tell({"event": "message", "stage": node.name, "text": f"{status}: {rest}"})

    def _say(self, text: str) -> None:
        self._print(text)
        self.folder.tell({"event": "message", "text": text})

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _outputs(node: Node, result: object, temp: Path) -> dict[str, Artifact]:
    """What the body returned, by output name, checked: an AssertionError here is the stage author's mistake."""
    stage = node.stage
    assert isinstance(result, stage.result), (
        f"stage {stage.name!r} must return {stage.result.__name__}, not {type(result).__name__}"
    )
    made = {name: result if name == ONLY else getattr(result, name) for name in stage.outputs}
    for name, artifact in made.items():
        told = f"stage {stage.name!r}, output {name or 'of the stage'}"
        assert isinstance(artifact, stage.outputs[name]), f"{told}: {artifact!r} is no {stage.outputs[name].__name__}"
        assert artifact.path.resolve().is_relative_to(temp.resolve()), f"{told}: {artifact.path} is not in ctx.out"
        assert not check_output(artifact), f"{told}: {check_output(artifact)} in {artifact.path.name}"
    return made


def has_checkpoint(scratch: Path) -> bool:
    """Whether a stage left more in its scratch folder than the log of its metrics."""
    return scratch.is_dir() and any(child.name != METRICS for child in scratch.iterdir())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
