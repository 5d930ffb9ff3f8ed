"""Identity of a stage's result: what its key is made of, and digests of files and folders.

No modification times and no source code go into a key; a stage that changes its meaning raises its version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.sealed import file_digest, intact
from pipelines.graph import Node
from pipelines.source import expanded

MANIFEST = "manifest.json"
VOLATILE = (MANIFEST, "metrics.jsonl")  # times and machine facts: no part of what an artifact is


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that decides a stage's result. Two equal identities share one artifact.

    inputs: {input: [[label, digest], ...]}; the label counts only where the stage sees it (`dict[str, X]`).
    """

    kind: str
    version: int
    config: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, Sequence[Sequence[str]]]
    plugins: Mapping[str, str]
    files: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON form, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()


def stage_seed(seed: int, name: str) -> int:
    """A seed of its own for each stage of a pipeline, 0 <= seed < 2**31; stages of one kind do not share draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1


def identify(
    node: Node, seed: int, inputs: Mapping[str, Sequence[Sequence[str]]], rewards: Mapping[str, Path], base: Path
) -> Identity:
    """The identity of one stage. `seed` is the pipeline's, `inputs` as in `Identity`, `rewards` the plugin files."""
    stage = node.stage
    plugins: dict[str, str] = {}
    for name, path in rewards.items() if stage.uses_rewards else ():
        plugins[_short(name, plugins)] = file_digest(path)
    files: dict[str, str] = {}
    # An absolute path counts by its last part: the same content elsewhere is the same input.
    for name in stage.files(node.config) if stage.files else ():
        files[_short(name, files) if Path(name).is_absolute() else str(name)] = path_digest(base / expanded(name))
    config = node.config.deciding()
    return Identity(stage.name, stage.version, config, stage_seed(seed, node.name), inputs, plugins, files)


def _short(name: str, taken: Mapping[str, str]) -> str:
    """The last part of a path; all of it where another file has that name."""
    last = Path(name).name
    return name if last in taken else last


def files_of(folder: Path) -> list[str]:
    """Relative names (with '/') of all files below a folder, sorted; links are followed."""
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)


def tree_digest(digests: Mapping[str, str]) -> str:
    """Digest of a folder from its files' relative names and digests, without the volatile ones."""
    lines = [f"{name}\0{digest}\n" for name, digest in sorted(digests.items()) if name not in VOLATILE]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def path_digest(path: Path) -> str:
    """Digest of a file or folder that the user named; an artifact's own digest where the folder is one.

    An absent path has the digest 'absent', so that a plan can still be made.
    """
    path = path.resolve()
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        return "absent"
    for root in (path, path.parent):
        try:
            manifest = json.loads((root / MANIFEST).read_text())
            outputs = manifest["outputs"] if intact(manifest) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        for output in outputs.values():
            if (root / output["path"]).resolve() == path:
                return str(output["digest"])
    return tree_digest({name: file_digest(path / name) for name in files_of(path) if name not in VOLATILE})
