"""Orders and circles of stages, and what a stage function must look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field

from pipelines.artifacts import Model, Samples
from pipelines.context import Context
from pipelines.graph import cycle, ordered
from pipelines.stage import REGISTRY, StageConfig, known_stages, stage
from tests.pipelines import toy_stages


class Plain(StageConfig):
    n: int = Field(1, description="a number")


class Undocumented(StageConfig):
    n: int = 1


class Taken(StageConfig):
    out: int = Field(1, description="a flag that every stage has")


def test_order_is_the_files_where_the_edges_allow_it() -> None:
    assert ordered({"c": ["a"], "b": [], "a": ["b"], "d": []}) == ["b", "a", "c", "d"]
    assert ordered({"a": ["outside"]}) == ["a"]


def test_a_circle_is_named_in_running_order() -> None:
    parents = {"x": [], "a": ["x", "c"], "b": ["a"], "c": ["b"], "d": ["c"]}
    found = cycle(parents)
    assert found[0] == found[-1] and set(found) == {"a", "b", "c"}
    assert all(found[i] in parents[found[i + 1]] for i in range(3))
    assert cycle({"a": ["a"]}) == ["a", "a"]
    assert cycle({"a": [], "b": ["a"]}) == []


def test_a_stage_record_says_what_the_annotations_say() -> None:
    train = REGISTRY["toy-train"]
    assert train.body is toy_stages.toy_train and train.uses_rewards
    assert [(i.name, i.type, i.shape, i.optional) for i in train.inputs.values()] == [
        ("model", Model, "one", False),
        ("data", Samples, "list", True),
    ]
    assert REGISTRY["toy-eval"].inputs["models"].shape == "dict"
    assert list(REGISTRY["toy-problems"].outputs) == ["train", "chat"]


def test_every_stage_of_the_product_describes_itself() -> None:
    for record in known_stages().values():
        assert record.summary and record.version >= 1
        record.config.model_json_schema()


def wrong_head(config: Plain) -> Model: ...  # type: ignore[empty-body]
def positional(ctx: Context, config: Plain, model: Model) -> Model: ...  # type: ignore[empty-body]
def no_default(ctx: Context, config: Plain, *, model: Model | None) -> Model: ...  # type: ignore[empty-body]
def no_artifact(ctx: Context, config: Plain, *, model: str) -> Model: ...  # type: ignore[empty-body]
def no_result(ctx: Context, config: Plain) -> str: ...  # type: ignore[empty-body]
def no_words(ctx: Context, config: Undocumented) -> Model: ...  # type: ignore[empty-body]
def taken_flag(ctx: Context, config: Taken) -> Model: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (wrong_head, "must start with"),
        (positional, "must be keyword-only"),
        (no_default, "needs the default None"),
        (no_artifact, "is no artifact type"),
        (no_result, "must return one of Model, Problems"),
        (no_words, r"'n' needs Field\(description"),
        (taken_flag, "name of a flag that every stage has"),
    ],
)
def test_a_wrong_stage_is_refused_with_a_reason(body: Callable[..., Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        stage(version=1, summary="x")(body)
    assert body.__name__.replace("_", "-") not in REGISTRY
