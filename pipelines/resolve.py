"""Which stages of a pipeline are already made: the part that `r1 plan` and `r1 run` share."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import Artifact
from pipelines.graph import Node, Pipeline, Ref
from pipelines.keys import Identity, identify, path_digest
from pipelines.stage import Input
from pipelines.store import Made, Store


class Resolver:
    """Walks a pipeline's stages in order. `made` holds the stages whose artifact is there."""

    def __init__(self, pipeline: Pipeline, store: Store) -> None:
        self.pipeline = pipeline
        self.store = store
        self.made: dict[str, Made] = {}
        self._digests: dict[Path, str] = {}

    def missing(self, node: Node) -> list[str]:
        """The parents of a stage that are not made: its key is unknown until they are."""
        return [name for name in node.parents() if name not in self.made]

    def identity(self, node: Node) -> Identity:
        """What a stage's result depends on. All its parents must be made."""
        inputs = {
            name: [[ref.label if node.stage.inputs[name].shape == "dict" else "", self._digest(ref)] for ref in refs]
            for name, refs in node.inputs.items()
        }
        return identify(node, self.pipeline.seed, inputs, self.pipeline.rewards, self.pipeline.base)

    def find(self, node: Node, identity: Identity) -> Made | None:
        """Look the stage up in the store and remember it if it is there."""
        made = self.store.find(identity.kind, identity.key)
        if made is not None:
            self.made[node.name] = made
        return made

    def arguments(self, node: Node) -> dict[str, object]:
        """The keyword arguments of the stage's body: typed artifacts in the shape that each input declares."""
        found: dict[str, object] = {}
        for name, refs in node.inputs.items():
            slot = node.stage.inputs[name]
            made = {ref.label: self._artifact(ref, slot) for ref in refs}
            ordered = [self._artifact(ref, slot) for ref in refs]
            found[name] = ordered[0] if slot.shape == "one" else ordered if slot.shape == "list" else made
        return found

    def _artifact(self, ref: Ref, slot: Input) -> Artifact:
        return slot.type(ref.path) if ref.path is not None else self.made[ref.stage].output(ref.output)

    def _digest(self, ref: Ref) -> str:
        if ref.path is None:
            return self.made[ref.stage].digest(ref.output)
        if ref.path not in self._digests:
            self._digests[ref.path] = path_digest(ref.path)
        return self._digests[ref.path]
