"""Keys and the store: what an artifact's identity is, and that it is whole or not there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.artifacts import Model, read_rows, write_rows
from pipelines.keys import Identity, path_digest, stage_seed, tree_digest
from pipelines.store import Made, Store, damage

IDENTITY = Identity("toy", 1, {"lr": 1e-5}, 7, {"model": [["", "d"]]}, {}, {})
ABOUT = {"wall_s": 1.0, "metrics": {}}


def commit(store: Store, identity: Identity = IDENTITY, text: str = "{}") -> Made:
    temp, _ = store.open(identity.kind, identity.key)
    (temp / "config.json").write_text(text)
    (temp / "metrics.jsonl").write_text(text)
    return store.commit(identity, {"": Model(temp)}, ABOUT)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"version": 2},
        {"config": {"lr": 2e-5}},
        {"seed": 8},
        {"inputs": {"model": [["", "e"]]}},
        {"inputs": {"model": [["base", "d"]]}},
        {"plugins": {"mine.py": "d"}},
        {"files": {"./x": "d"}},
    ],
)
def test_everything_that_decides_a_result_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(IDENTITY, **change).key != IDENTITY.key  # type: ignore[arg-type]


def test_the_key_does_not_depend_on_the_order_of_the_config() -> None:
    first, second = ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1})
    assert replace(IDENTITY, config=first).key == replace(IDENTITY, config=second).key


def test_an_artifact_is_found_only_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find("toy", IDENTITY.key) is None
    store.open("toy", IDENTITY.key)
    assert store.find("toy", IDENTITY.key) is None
    made = commit(store)
    found = store.find("toy", IDENTITY.key)
    assert found is not None and found.output("") == Model(made.folder)
    (made.folder / "config.json").write_text("")
    assert store.find("toy", IDENTITY.key) is None and "has 0 bytes instead of 2" in damage(made)
    (made.folder / "config.json").unlink()
    assert damage(made) == "config.json is missing"
    shutil.copytree(commit(store).folder, store.folder("toy", "f" * 64))
    assert store.find("toy", "f" * 64) is None  # another key's manifest


def test_a_digest_leaves_out_times_and_counts_names() -> None:
    assert tree_digest({"a": "1", "metrics.jsonl": "2", "manifest.json": "3"}) == tree_digest({"a": "1"})
    assert tree_digest({"a": "1"}) != tree_digest({"b": "1"})


def test_equal_content_under_two_keys_has_one_digest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = commit(store), commit(store, replace(IDENTITY, seed=8))
    assert one.folder != two.folder and one.digest("") == two.digest("")
    assert path_digest(one.folder) == one.digest("")
    shutil.copytree(one.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("manifest.json"))
    assert path_digest(tmp_path / "copy") == one.digest("")
    manifest = one.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(one.digest(""), "0" * 64))
    assert path_digest(one.folder) == two.digest("")  # a manifest that is not what was written counts for nothing


def test_seeds_differ_by_stage_and_pipeline_seed_and_fit_31_bits() -> None:
    seeds = {stage_seed(seed, name) for seed in range(20) for name in ("cold", "reason", "final")}
    assert len(seeds) == 60 and all(0 <= seed < 2**31 for seed in seeds)
    assert stage_seed(0, "cold") == stage_seed(0, "cold")


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"id": "a", "answer": None, "n": 1}, {"id": "b", "answer": "7", "extra": [1, 2]}]
    write_rows(tmp_path / "set", rows)
    assert read_rows(tmp_path / "set") == [
        {"id": "a", "answer": None, "n": 1, "extra": None},
        {"id": "b", "answer": "7", "n": None, "extra": [1, 2]},
    ]
    assert write_rows(tmp_path / "samples.parquet", rows) == tmp_path / "samples.parquet"
    assert len(read_rows(tmp_path / "samples.parquet")) == 2
