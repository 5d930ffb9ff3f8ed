"""How much a stage of a pipeline has to do, before it runs: sequences to train on and to draw, and by which model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.tiny import TINY_BASE, dense_sizes
from pipelines.artifacts import ROWS
from pipelines.graph import Node, Pipeline, Ref
from pipelines.shapes import KNOWN, Shape, UnknownShape, read_shape, shape
from pipelines.source import expanded
from pipelines.store import Made

SETS = {"train": "n", "dev": "dev", "holdout": "holdout", "cold_start": "cold_start", "general": "general"}
DRAWN = ("sample", "cold-start")  # kinds that draw completions of problems and keep some
PREFERENCE_SETS = ("pairs", "pairs_dev", "labels", "labels_dev", "chat", "chat_dev", "chat_holdout", "samples")
KEPT = 0.5  # share of drawn completions that rejection sampling is taken to keep while no run has measured it


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage has to do.

    kind: read text (pretrain, sft), reinforcement learning, or draw only. sequences: trained on, or drawn, all epochs,
    steps and models together. limit: longest sequence (read) or completion (rl, draw), tokens. batch: sequences drawn
    at once; for `read`, sequences of one update. rollouts: batches drawn. passes: forward passes beside the training
    pass (reference model, old policy). models: engines started. fixed: every sequence has `limit` tokens.
    """

    kind: Literal["read", "rl", "draw"]
    sequences: int
    limit: int
    batch: int
    steps: int = 0
    rollouts: int = 0
    passes: int = 0
    models: int = 1
    fixed: bool = False


class Outlook:
    """Walks a pipeline in running order and knows of each stage the model that it makes and the rows that it hands on.

    What is in the store is counted there; the rest follows from the config.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.base = pipeline.base
        self._shapes: dict[str, Shape | None] = {}
        self._rows: dict[str, int | None] = {}

    def visit(self, node: Node, made: Made | None, last: Mapping[str, Any] | None) -> tuple[Work | None, Shape | None]:
        """A stage's work and model; None where they cannot be told. `last`: manifest of an earlier run of it."""
        model = self._shape_of(node)
        self._shapes[node.name] = model
        work = self._work(node)
        self._count(node, made, last, work)
        if work is not None and model is not None and model.positions is not None:
            work = replace(work, limit=min(work.limit, model.positions))
        return work, model

    def _shape_of(self, node: Node) -> Shape | None:
        if node.stage.name == "model":
            return _source_shape(str(getattr(node.config, "source", "")), self.base)
        if node.stage.name == "pretrain":
            return _tiny_shape(node.config)
        refs = [ref for slot in ("model", "models") for ref in node.inputs.get(slot, ())]
        return self._model(refs[0]) if refs else None

    def _model(self, ref: Ref) -> Shape | None:
        if ref.path is None:
            return self._shapes.get(ref.stage)
        try:
            return read_shape(ref.path)
        except UnknownShape:
            return None

    def rows(self, refs: Sequence[Ref]) -> int | None:
        """Rows of several inputs together; None if one of them is unknown."""
        counts = [_stored_rows(ref.path) if ref.path is not None else self._rows.get(str(ref)) for ref in refs]
        return sum(n for n in counts if n is not None) if None not in counts else None

    def _count(self, node: Node, made: Made | None, last: Mapping[str, Any] | None, work: Work | None) -> None:
        """Note what the stage's outputs hold."""
        config: Any = node.config
        known = (made.manifest if made else {}).get("metrics", {})
        kind, name = node.stage.name, node.name
        if kind == "problems":
            for output, knob in SETS.items():
                self._rows[f"{name}.{output}"] = known.get(output, getattr(config, knob))
        elif kind == "preferences":
            for output in PREFERENCE_SETS:
                self._rows[f"{name}.{output}"] = known.get(output, getattr(config, output))
        elif kind in ("chats", "rehearsal"):
            self._rows[name] = known.get("kept", config.n)
        elif kind in DRAWN and work is not None:
            before = (last or {}).get("metrics", {})
            share = before["kept"] / before["drawn"] if before.get("drawn") else KEPT
            self._rows[name] = known.get("kept", round(share * work.sequences))
        elif kind in DRAWN:  # a cold start from a file: its rows are not looked at here
            self._rows[name] = known.get("kept")
        elif "problems" in node.inputs or "samples" in node.inputs:  # a filter of rows, such as `clean`
            self._rows[name] = known.get("kept", self.rows(node.inputs.get("problems", node.inputs.get("samples", ()))))

    def _work(self, node: Node) -> Work | None:
        config: Any = node.config
        kind, inputs = node.stage.name, node.inputs
        if kind == "pretrain":
            sequences = config.steps * config.accumulate
            return Work("read", sequences, config.batch_tokens, config.accumulate, config.steps, fixed=True)
        if kind == "rehearsal":
            return Work("draw", config.n, config.max_tokens, config.n)
        rows = self.rows(inputs.get("samples", inputs.get("problems", ())))
        if rows is None:
            return None
        if kind == "sft":
            steps = -(-rows // config.batch) * config.epochs
            return Work("read", config.epochs * rows, config.max_length, config.batch, steps)
        if kind == "grpo":
            return grpo_work(config)
        if kind in (*DRAWN, "eval") and not getattr(config, "reads_file", False):
            if kind in DRAWN:
                rows = len(config.chosen(range(rows)))
            elif config.limit:  # the first of each input
                rows = sum(min(config.limit, self.rows([ref]) or 0) for ref in inputs["problems"])
            models, each = len(inputs.get("models", ("one",))), config.n if kind in DRAWN else config.k
            return Work("draw", models * rows * each, config.max_tokens, rows * each, models=models)
        return None


def grpo_work(config: Any) -> Work:
    """The work of GRPO settings: each rollout batch serves `updates_per_rollout` updates."""
    samples = config.prompts_per_step * config.group
    passes = (config.beta > 0) + config.has_old_pass
    batch = samples * config.minibatches
    draws = -(-config.steps // config.updates_per_rollout)
    return Work("rl", config.steps * samples, config.max_tokens, batch, config.steps, draws, passes)


def _source_shape(source: str, base: Path) -> Shape | None:
    """The model that a `model` stage takes, where its config.json is known or on this machine."""
    try:
        if source == "tiny-moe":
            return read_shape(TINY_BASE)
        if source in KNOWN:
            return shape(KNOWN[source])
        return read_shape(base / expanded(source)) if source.startswith((".", "/", "~")) else None
    except UnknownShape:
        return None


def _tiny_shape(config: Any) -> Shape:
    if config.architecture == "qwen3":
        return shape(dense_sizes(config.vocab_size, hidden_size=config.hidden_size, layers=config.layers))
    sizes = json.loads((TINY_BASE / "config.json").read_text(encoding="utf-8"))
    hidden = config.hidden_size
    own = {"vocab_size": config.vocab_size, "num_hidden_layers": config.layers, "hidden_size": hidden}
    return shape({**sizes, **own, "intermediate_size": 3 * hidden})


def _stored_rows(path: Path) -> int | None:
    """Rows of a folder given in the pipeline file."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    try:
        return int(pq.ParquetFile(path / ROWS).metadata.num_rows)
    except (OSError, ValueError):  # ValueError: cut off, or no Parquet; the stage that reads it says so
        return None
