"""What every engine needs to know about one request: its seed and the tokens that end it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def request_seed(seed: int, index: int) -> int:
    """The seed of request `index` of one `generate` call: well spread, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=6).digest(), "big")


def stop_token_ids(model_path: str | Path) -> tuple[int, ...]:
    """End-of-sequence ids of a model folder: generation_config.json if it names any, else config.json."""
    for name in ("generation_config.json", "config.json"):
        file = Path(model_path) / name
        eos = json.loads(file.read_text()).get("eos_token_id") if file.exists() else None
        if eos is not None:
            return tuple(eos) if isinstance(eos, list) else (int(eos),)
    return ()
