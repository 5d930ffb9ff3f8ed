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
from pipelines.disk import full_disk
from pipelines.events import Event, Listener
from pipelines.gates import judge
from pipelines.graph import Node, Pipeline
from pipelines.keys import MANIFEST, Identity
from pipelines.resolve import Resolver
from pipelines.run_folder import RunFolder
from pipelines.signals import Interrupts, interrupts
from pipelines.stage import ONLY, StageError
from pipelines.store import Made, Store, check_output, read_made
from pipelines.store_care import corruption

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, STOPPED, INTERRUPTED = 0, 1, 3, 130  # exit codes
AGAIN = "The same command goes on from there."
ROOM = f"Make room there (`r1 store gc` shows what no run has). {AGAIN}"


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
    run = _Run(pipeline, store, folder, console)
    with interrupts() as signals:
        try:
            with folder.lock(), store.shared():
                return run.go(until, signals)
        except KeyboardInterrupt:
            run.say(f"Interrupted before a stage began. {AGAIN}")
            return INTERRUPTED
        except OSError as error:
            if not (what := full_disk(error, workdir)):
                raise
            run.say(f"{what}. {ROOM}")
            return FAILED


class _Run:
    """One call of `run`: what the stages of it share."""

    def __init__(self, pipeline: Pipeline, store: Store, folder: RunFolder, console: Console) -> None:
        self.pipeline, self.store, self.folder, self.console = pipeline, store, folder, console
        self.resolver = Resolver(pipeline, store)
        self.width = max(len(node.name) for node in pipeline.nodes)
        self.facts: dict[str, Any] | None = None

    def go(self, until: str | None, signals: Interrupts) -> int:
        started, ran = time.monotonic(), 0
        self.store.clean()
        reasons = {node.name: why for node, *_, why in plan.standing(self.pipeline, self.folder, self.store)}
        nodes = (self.pipeline.until(until) if until else self.pipeline).nodes
        for name in self._discard_damaged(nodes):
            reasons[name] = "damaged in the store"
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
        self.say(f"{self.folder.path}: {counts}")
        return DONE

    def _unmet(self, node: Node) -> str | None:
        """Why a stage must not begin; None where it has no gate or the gate is open."""
        if node.gate is None:
            return None
        scores = self.resolver.made[node.gate.scores]
        self._check(node.gate.scores, scores)
        try:
            verdict = judge(node.gate, scores.output(ONLY).path)
        except KeyError as error:
            raise StageError(f"needs: {error.args[0]}") from error
        if not verdict.passed:
            return str(verdict)
        self._line(node, "needs met", str(verdict))
        return None

    def _stopped(self, node: Node, why: str) -> int:
        self.folder.update(node.name, "stopped", error=why)
        self.folder.end("stopped")
        self.say(f"Stopped before {node.name}: {why} (scores: {node.gate.scores if node.gate else ''}).")
        kept = ", ".join(self.resolver.made)
        self.say(f"Kept: {kept}. Change what leads to it, or its `needs`. {AGAIN}")
        return STOPPED

    def _discard_damaged(self, nodes: tuple[Node, ...]) -> list[str]:
        """Compare what the stages to be run will read with its digests; what differs is removed and made again."""
        resolver = Resolver(self.pipeline, self.store)
        checked, damaged = set(), []
        for node in nodes:
            if not resolver.missing(node):
                identity = resolver.identity(node)
                place = self.store.folder(identity.kind, identity.key)
                if resolver.find(node, identity) is None and place.exists() and read_made(place) is None:
                    self.say(f"{node.name}: damaged in the store, is made again: {MANIFEST} is not what was written")
                    damaged.append(node.name)
        made = dict(resolver.made)
        for node in reversed(nodes):
            if node.name in made:
                continue
            for parent in [name for name in node.after() if name in made and name not in checked]:
                checked.add(parent)
                if what := corruption(made[parent]):
                    self.say(f"{parent}: damaged in the store, is made again: {what}")
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
                    self._check_inputs(node)
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

    def _check_inputs(self, node: Node) -> None:
        """What a stage is about to read is what was written: hours may have passed since the run began."""
        for ref in (ref for refs in node.inputs.values() for ref in refs):
            if ref.path is None:
                self._check(ref.stage, self.resolver.made[ref.stage])
            else:  # a folder that the user named may be an artifact, or an output in one
                for made in filter(None, map(read_made, (ref.path, ref.path.parent))):
                    self._check(str(ref), made)

    def _check(self, name: str, made: Made) -> None:
        if what := corruption(made):
            raise StageError(f"{name} was damaged in the store ({made.folder}): {what}. A new run makes it again.")

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
                "paces": ctx.speeds(),
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
            self._note(node, "interrupted")
        self.say(f"Interrupted in {node.name} after {plan.duration(seconds)}. {self._kept(node)} {AGAIN}")
        return INTERRUPTED

    def _failed(self, node: Node, error: BaseException, seconds: float) -> int:
        full = full_disk(error, self.store.root)
        text = full or (str(error) if isinstance(error, StageError) else f"{type(error).__name__}: {error}").strip()
        self._note(node, "failed", error=text.splitlines()[0][:500] if text else type(error).__name__)
        self.say(f"{node.name} ({node.stage.name}) failed after {plan.duration(seconds)}: {text}")
        if not full and not isinstance(error, StageError):
            log = self.folder.path / f"{node.name}.error.txt"
            log.write_text("".join(traceback.format_exception(error)))
            self.say(f"traceback: {log}")
        below = [n.name for n in self.pipeline.nodes if n.name not in self.resolver.made and n.name != node.name]
        if below:
            self.say(f"not run: {', '.join(below)}")
        self.say(f"{self._kept(node)} {ROOM if full else f'Mend what it says. {AGAIN}'}")
        return FAILED

    def _note(self, node: Node, status: str, **facts: Any) -> None:
        """How the run ended, in run.json; a disk that is full must not hide the reason."""
        try:
            self.folder.update(node.name, status, **facts)
            self.folder.end(status)
        except OSError as error:
            self.say(f"{self.folder.path}: run.json could not be written: {error}")

    def _kept(self, node: Node) -> str:
        """What a run that ends early leaves for the next one."""
        key = self.folder.record(node.name).get("key", "")
        scratch = self.store.scratch(node.stage.name, key)
        checkpoint = f" and a checkpoint of {node.name}" if key and has_checkpoint(scratch) else ""
        return f"Kept: {', '.join(self.resolver.made) or 'nothing yet'}{checkpoint}."

    def _line(self, node: Node, status: str, rest: str = "") -> None:
        self._print(f"{node.name:<{self.width}}  {node.stage.name:<9} {status:<14} {rest}".rstrip())
        if status in ("waiting", "needs met"):  # the others are statuses of the stage, told with it
            self.folder.tell({"event": "message", "stage": node.name, "text": f"{status}: {rest}"})

    def say(self, text: str) -> None:
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
    """Whether a stage left more in its scratch folder than the log of its metrics and what is half-written."""
    return scratch.is_dir() and any(child.name != METRICS and child.name[0] != "." for child in scratch.iterdir())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
