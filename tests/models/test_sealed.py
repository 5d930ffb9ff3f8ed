"""A sealed folder says so when a single bit of it has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.sealed import SEAL, flaw, intact, publish, seal, signed

FILES = {
    "model.safetensors": bytes(range(256)),
    "trainer_state.json": b'{"global_step": 4}',
    "reference/config.json": b"{}",
}


def write(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    seal(folder)
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_found(tmp_path: Path, data: st.DataObject) -> None:
    folder = write(tmp_path / "checkpoint-4")
    assert flaw(folder) == ""
    file = folder / data.draw(st.sampled_from([*FILES, SEAL]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    assert file.name in flaw(folder)


@pytest.mark.parametrize("name", [*FILES, SEAL])
def test_a_missing_or_cut_file_is_found(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "checkpoint-4")
    file = folder / name
    file.write_bytes(file.read_bytes()[:-1])
    assert name.split("/")[-1] in flaw(folder)
    file.unlink()
    assert name in flaw(folder)


def test_publishing_replaces_what_was_there_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4/old").mkdir(parents=True)
    publish(write(tmp_path / ".saving/checkpoint-4"), tmp_path / "checkpoint-4")
    assert flaw(tmp_path / "checkpoint-4") == "" and not (tmp_path / "checkpoint-4/old").exists()
    assert list((tmp_path / ".saving").iterdir()) == []


def test_a_signed_object_survives_json_and_no_change() -> None:
    content = json.loads(json.dumps(signed({"loss": 0.1 + 0.2, "names": ["é", 1e-300]})))
    assert intact(content)
    assert not intact({**content, "loss": 0.3}) and not intact({**content, "more": 1}) and not intact({"a": 1})
