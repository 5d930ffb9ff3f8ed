"""`r1 init`: a pipeline and a reward to start from, as files that the user owns."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.source import ConfigError

TEMPLATES = Path(__file__).parent / "templates"
FILES = {"pipeline.yaml": "starter.yaml", "my_rewards.py": "my_rewards.py"}


def write(folder: Path) -> list[Path]:
    """Write the starter files and return their paths.

    Raises:
        ConfigError: one of them exists, or the folder cannot be made; then nothing is written.
    """
    targets = {folder / name: TEMPLATES / template for name, template in FILES.items()}
    there = [path for path in targets if path.exists()]
    if there:
        raise ConfigError([f"{path}: exists already; nothing was written" for path in there])
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).strip("-.") or "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in targets.items():
            path.write_text(template.read_text(encoding="utf-8").replace("NAME", name, 1), encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be written: {error.strerror}"]) from error
    return list(targets)
