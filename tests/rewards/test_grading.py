"""Samples that are graded while others are still being drawn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.incoming import Incoming
from rewards.scorer import ErrorBudgetExceeded, Scorer
from rollout.types import EagerScorer, Sample

PLUGIN = '''
import time
from rewards import Sample, reward

@reward
def told(s: Sample) -> float | None:
    """What the completion says; leaves a file that says so."""
    if s.row.get("folder"):
        with open(f"{s.row['folder']}/{s.completion}", "a") as file:
            file.write("graded\\n")
    if s.completion == "sleep":
        time.sleep(1000)
    return None if s.completion == "none" else float(s.completion)

@reward(group=True)
def rank(samples: list[Sample]) -> list[float]:
    """How many of the group are less."""
    texts = [s.completion for s in samples]
    return [float(sum(other < text for other in texts)) for text in texts]
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "told.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def scorer(plugin: Path) -> Iterator[Scorer]:
    with Scorer({"told": 1.0, "rank": 0.1}, [plugin], workers=2, error_budget=1.0) as scorer:
        yield scorer


ROW: dict[str, Any] = {}  # one problem: samples of it that say the same are equal


def sample(completion: str, folder: Path | None = None) -> Sample:
    return Sample("q", completion, row={"folder": str(folder)} if folder else ROW)


def wait_for(what: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_a_sample_is_graded_before_the_next_is_there(scorer: Scorer, tmp_path: Path) -> None:
    assert isinstance(scorer, EagerScorer)
    with scorer.begin([2]) as grading:
        grading.add((0, 1, sample("1", tmp_path)))
        wait_for((tmp_path / "1").exists)
        grading.add((0, 0, sample("2", tmp_path)))
        assert grading.result().parts_P_G == {"told": [[2.0, 1.0]], "rank": [[1.0, 0.0]]}


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.lists(st.sampled_from(["1", "2", "3", "none", "raise"]), max_size=4), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_in_whatever_order_they_come_scores_are_the_same(scorer: Scorer, groups: list[list[str]], order: Any) -> None:
    whole = scorer([[sample(text) for text in group] for group in groups])
    places = [(p, g, sample(text)) for p, group in enumerate(groups) for g, text in enumerate(group)]
    order.shuffle(places)
    with scorer.begin([len(group) for group in groups]) as grading:
        while places:
            grading.add(*[places.pop() for _ in range(order.randint(1, len(places)))])
        assert grading.result() == whole


def test_a_sample_that_is_added_again_takes_the_place_of_the_earlier_one(plugin: Path, tmp_path: Path) -> None:
    quarantine = tmp_path / "quarantine.jsonl"
    with (
        Scorer({"told": 1.0, "rank": 1.0}, [plugin], workers=1, error_budget=1.0, quarantine=quarantine) as scorer,
        scorer.begin([2]) as grading,
    ):
        grading.add((0, 0, sample("raise")), (0, 1, sample("5")))
        wait_for(quarantine.exists)
        grading.add((0, 0, sample("7")))
        scored = grading.result()
    assert (scored.total_P_G, scored.errors) == ([[8.0, 5.0]], 0)
    assert [json.loads(line)["sample"]["completion"] for line in quarantine.read_text().splitlines()] == ["raise"]


def test_equal_samples_of_a_group_are_graded_once(scorer: Scorer, tmp_path: Path) -> None:
    row = {"folder": str(tmp_path), "numbers": [1.0]}
    same = [Sample("q", text, row=row) for text in ("4", "5", "4", "raise", "4", "raise")]
    failed = scorer.failed
    with scorer.begin([6, 2]) as grading:
        grading.add((0, 0, same[0]))
        wait_for((tmp_path / "4").exists)
        grading.add(*((0, g, same[g]) for g in range(1, 6)))  # one of them comes when the first has its grade
        grading.add((1, 0, same[0]), (1, 1, Sample("q", "4", finish="length", row=row)))
        scored = grading.result()
    assert scored.parts_P_G["told"] == [[4.0, 5.0, 4.0, None, 4.0, None], [4.0, 4.0]]
    assert scored.errors == 2 == scorer.failed - failed, "a failure is one of each sample that has it"
    graded = {file.name: len(file.read_text().splitlines()) for file in tmp_path.iterdir()}
    assert graded == {"4": 3, "5": 1, "raise": 1}, "once a group, and what was cut is another sample"


def test_who_leaves_early_waits_for_nothing(plugin: Path, tmp_path: Path) -> None:
    with Scorer({"told": 1.0}, [plugin], workers=1, timeout_s=60.0, wall_s=60.0) as scorer:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), scorer.begin([2]) as grading:
            grading.add((0, 0, sample("sleep", tmp_path)))
            wait_for((tmp_path / "sleep").exists)
            raise KeyboardInterrupt
        assert time.monotonic() - began < 50
        assert scorer([[sample("3")]]).total_P_G == [[3.0]]


def test_a_spent_budget_is_told_while_samples_still_come(plugin: Path) -> None:
    with (
        Scorer({"told": 1.0}, [plugin], workers=1, error_budget=0.0) as scorer,
        scorer.begin([1000]) as grading,
        pytest.raises(ErrorBudgetExceeded, match="1 of 1000"),
    ):
        for g in range(1000):
            grading.add((0, g, sample("raise")))
            time.sleep(0.01)


def test_more_rings_than_a_pipe_holds_block_nobody() -> None:
    incoming = Incoming()
    for i in range(70_000):
        incoming.add(i)
    incoming.end()
    assert incoming.more and incoming.take() == list(range(70_000)) and not incoming.more
