"""The order of problems: general prompts wait for the last steps, and their share is what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from rl.config import GrpoError, GrpoSettings
from rl.schedule import Schedule

REASONING: list[dict[str, Any]] = [{"id": f"r{i}", "prompt": f"Compute {i}+1.", "judge": None} for i in range(10)]
GENERAL: list[dict[str, Any]] = [{"id": f"g{i}", "prompt": f"Hello {i}", "judge": "helpful"} for i in range(6)]
ROWS = REASONING + GENERAL


def batches(**settings: Any) -> list[list[int]]:
    given = GrpoSettings(prompts_per_step=4, **settings)
    order = Schedule(ROWS, given, 0).order()
    size = 4 * given.minibatches
    return [order[i : i + size] for i in range(0, len(order), size)]


def general(batch: list[int]) -> int:
    return sum(i >= len(REASONING) for i in batch)


def test_general_prompts_come_in_the_last_steps_only() -> None:
    found = batches(steps=10, general_steps=4)
    assert [general(batch) for batch in found[:6]] == [0] * 6 and sum(map(general, found[6:])) > 0
    assert {i for batch in found[:5] for i in batch} == set(range(10))  # 20 draws: two epochs of ten


def test_the_share_of_general_prompts_is_exact() -> None:
    assert [general(batch) for batch in batches(steps=6, general_steps=3, general_share=0.5)] == [0, 0, 0, 2, 2, 2]
    assert [general(batch) for batch in batches(steps=3, general_share=0.25)] == [1, 1, 1]


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_a_share_that_rounds_to_none_or_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"general_share .* of 4 prompts is [04] general prompts in every batch"):
        GrpoSettings(prompts_per_step=4, general_share=share)


def test_the_last_steps_begin_with_a_batch_of_rollouts() -> None:
    """Two updates a batch: of 5 last steps the first one belongs to a batch begun before."""
    found = batches(steps=12, minibatches=2, general_steps=5, general_share=0.5)
    assert [general(batch) for batch in found] == [0, 0, 0, 4, 4, 4]


def test_nothing_is_held_back_unless_asked_and_a_seed_decides_the_order() -> None:
    first = Schedule(ROWS, GrpoSettings(steps=5, prompts_per_step=4), 0)
    assert sorted(first.order()[:16]) == list(range(16))
    again = Schedule(ROWS, GrpoSettings(steps=5, prompts_per_step=4), 0)
    other = Schedule(ROWS, GrpoSettings(steps=5, prompts_per_step=4), 1)
    assert first.order() == again.order() != other.order()


def test_a_group_is_refilled_with_what_its_step_may_draw() -> None:
    schedule = Schedule(ROWS, GrpoSettings(steps=10, prompts_per_step=4, general_steps=4), 0)
    assert sorted(schedule.spare([1, 3, 3], 5)) == [0, 2, 4, 5, 6, 7, 8, 9]
    assert sorted(schedule.spare([1, 3], 6)) == [0, 2, *range(4, 16)]
    assert list(schedule.spare([1], 7)) == list(schedule.spare([1], 7)) != list(schedule.spare([1], 8))


def test_what_cannot_be_had_is_said() -> None:
    with pytest.raises(GrpoError, match="general_steps: no problem is a general one"):
        Schedule(REASONING, GrpoSettings(general_steps=4), 0)
    with pytest.raises(GrpoError, match="general_share: all problems are general ones"):
        Schedule(GENERAL, GrpoSettings(general_share=0.5), 0)
    with pytest.raises(ValueError, match="general_steps 12 is more than steps 10"):
        GrpoSettings(steps=10, general_steps=12)
