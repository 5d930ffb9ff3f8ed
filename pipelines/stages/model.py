"""`model`: a base to start from: the shipped tiny MoE, SmolLM2 from a package, a local folder, or a Hub id."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from models import smollm2
from models.tiny import TINY_BASE
from pipelines.artifacts import Model
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage

SHIPPED = "tiny-moe"
SMOLLM2 = "smollm2-135m"


class ModelConfig(StageConfig):
    """Which model to start from."""

    source: str = Field(
        "tiny-moe",
        description="tiny-moe (shipped), smollm2-135m (see docs/results.md), a folder with config.json, or a Hub id",
    )
    revision: str | None = Field(None, description="Hub revision: give a commit hash so that a run can be repeated")


def _is_folder(source: str) -> bool:
    return source.startswith((".", "/", "~"))


def _files(config: ModelConfig) -> Iterable[str]:
    if config.source == SHIPPED:
        return [str(TINY_BASE)]  # other weights in a later release make another key
    if config.source == SMOLLM2:
        weights = smollm2.find_weights()
        return [str(weights)] if weights else []  # `_check` says that it is missing
    return [config.source] if _is_folder(config.source) else []


def _check(config: ModelConfig) -> Iterable[str]:
    if config.source == SHIPPED or _is_folder(config.source) or config.source.count("/") == 1:
        return []
    if config.source == SMOLLM2:
        lacking = smollm2.missing()
        return [f"source: {lacking}"] if lacking else []
    return [f"source {config.source!r} is neither tiny-moe, nor smollm2-135m, nor a folder (./ or /), nor OWNER/NAME"]


@stage(version=1, summary="take a base model: shipped, from a package, a folder or the Hub", files=_files, check=_check)
def model(ctx: Context, config: ModelConfig) -> Model:
    out = ctx.out / "model"
    if config.source == SHIPPED:
        _copy(TINY_BASE, out)
    elif config.source == SMOLLM2:
        smollm2.write_smollm2(out)
    elif _is_folder(config.source):
        folder = ctx.resolve(config.source)
        if not (folder / "config.json").exists():
            raise StageError(f"source {config.source}: no config.json in that folder, so it is no model")
        _copy(folder, out)
    else:
        _download(config, out)
    return Model(out)


def _copy(folder: Path, out: Path) -> None:
    """Hard links where the file system allows: a 60 GB base costs no second 60 GB. The store never writes to them."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    shutil.copytree(folder, out, copy_function=link, ignore=shutil.ignore_patterns(".*"))


def _download(config: ModelConfig, out: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        snapshot_download(
            config.source,
            revision=config.revision,
            local_dir=out,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise StageError(f"source {config.source}: not to be had from the Hub ({type(error).__name__})") from error
    shutil.rmtree(out / ".cache", ignore_errors=True)
