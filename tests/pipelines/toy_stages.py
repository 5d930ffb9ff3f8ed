"""Tiny stages for the tests of the pipeline core, and `toy_r1`, the command line with only these. No torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from pipelines.artifacts import Model, Problems, Report, Samples, Scores, read_rows, write_rows
from pipelines.context import Context
from pipelines.stage import REGISTRY, StageConfig, StageError, stage


class SeedModelConfig(StageConfig):
    source: str = Field("tiny", description="what to start from")


def _model(folder: Path, **content: object) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return Model(folder)


@stage(version=1, summary="a base", files=lambda c: [c.source] if c.source.startswith("./") else [])
def toy_base(ctx: Context, config: SeedModelConfig) -> Model:
    text = ctx.resolve(config.source).read_text() if config.source.startswith("./") else config.source
    return _model(ctx.out / "model", source=text)


class ToyProblemsConfig(StageConfig):
    n: int = Field(4, ge=1, description="problems")


class ToySets(NamedTuple):
    train: Problems
    chat: Samples


@stage(version=1, summary="problems and chat")
def toy_problems(ctx: Context, config: ToyProblemsConfig) -> ToySets:
    write_rows(ctx.out / "train", [{"id": str(i), "prompt": f"{i}+{ctx.seed}"} for i in range(config.n)])
    write_rows(ctx.out / "chat", [{"id": "c", "prompt": "hi", "completion": "ho"}])
    return ToySets(Problems(ctx.out / "train"), Samples(ctx.out / "chat"))


class Router(StageConfig):
    kind: Literal["frozen", "bias"] = Field("frozen", description="router policy")


class ToyTrainConfig(StageConfig):
    steps: int = Field(3, ge=1, description="updates")
    lr: float = Field(1e-5, gt=0, description="learning rate")
    packing: Literal["off", "bfd"] = Field("off", description="packing")
    router: Router = Field(Router(), description="router")
    rewards: dict[str, float] = Field({}, description="rewards and weights")
    trouble: str = Field("", description="hopeless, or at step 2: fail, crash, sleep, swallow, full, damage")


@stage(version=1, summary="training")
def toy_train(ctx: Context, config: ToyTrainConfig, *, model: Model, data: list[Samples] | None = None) -> Model:
    done = json.loads(checkpoint.read_text()) if (checkpoint := ctx.scratch / "step.json").exists() else 0
    ctx.resumed(done)
    if config.trouble == "hopeless":
        raise StageError("the loss is not a number; lower lr")
    with ctx.progress("train", config.steps) as bar:
        for step in range(done + 1, config.steps + 1):
            ctx.log(step=step, loss=1 / step)
            checkpoint.write_text(json.dumps(step))
            bar.advance(loss=1 / step)
            if step == 2 and config.trouble and not (flag := ctx.resolve("healed")).exists():
                print(f"READY {os.getpid()}", flush=True)
                _trouble(config.trouble, flag, model)
    ctx.summary(loss=1 / config.steps, resumed_at=done)
    rows = sum(len(read_rows(part)) for part in data or [])
    return _model(ctx.out, steps=config.steps, parent=(model.path / "config.json").read_text(), rows=rows)


def _trouble(kind: str, flag: Path, model: Model) -> None:
    if kind == "fail":
        raise StageError("the loss is not a number; lower lr")
    if kind == "crash":
        raise ValueError("a bug in the stage")
    if kind == "full":
        taken = shutil.disk_usage(flag.parent).free - int(flag.with_name("left").read_text())
        with flag.with_name("filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, taken)
        return
    if kind == "damage":
        (model.path / "config.json").write_text((model.path / "config.json").read_text().replace("3", "4"))
        return
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        if kind != "swallow":
            raise


class ToyEvalConfig(StageConfig):
    k: int = Field(2, ge=1, description="samples for each problem")


@stage(version=1, summary="scores")
def toy_eval(ctx: Context, config: ToyEvalConfig, *, models: dict[str, Model], problems: Problems) -> Scores:
    scores = {name: {"pass@1": 0.5, "ci95": [0.4, 0.6], "families": {}} for name in models}
    (ctx.out / "scores.json").write_text(json.dumps({"models": scores, "protocol": {"k": config.k}}))
    return Scores(ctx.out)


class ToyReportConfig(StageConfig):
    title: str = Field("run", description="heading")


@stage(version=1, summary="page")
def toy_page(ctx: Context, config: ToyReportConfig, *, scores: Scores) -> Report:
    (ctx.out / "report.html").write_text(f"<h1>{config.title}</h1>")
    return Report(ctx.out)


PIPELINE = """\
name: toy
seed: 0
stages:
  scores:   {use: toy-eval, from: {models: [base, cold, reason], problems: problems.train}}
  base:     {use: toy-base}
  problems: {use: toy-problems, with: {n: 5}}
  cold:     {use: toy-train, from: {model: base, data: problems.chat}, with: {lr: 1e-3}}
  reason:
    use: toy-train
    from: {model: cold}
    with: {steps: 60}
  page:     {use: toy-page, from: {scores: scores}}
"""


def r1(folder: Path, *words: str, out: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """`r1` with only these stages, in `folder`; `out`: where its standard output goes, else into the result."""
    command = [sys.executable, __file__, *words]
    return subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True)


NAMES = ("toy-base", "toy-problems", "toy-train", "toy-eval", "toy-page")


if __name__ == "__main__":  # a process of its own, for the tests that kill it
    from pipelines.cli import main

    assert all(name in REGISTRY for name in NAMES)
    main(sys.argv[1:])
