"""What pydantic says about a stage's config, told in the words and at the lines of the pipeline file."""

from __future__ import annotations

import re
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from yaml.nodes import MappingNode, Node, SequenceNode

from pipelines import source
from pipelines.source import Mistakes, did_you_mean


def explain(
    error: ValidationError, model: type[BaseModel], block: Node | None, key: Node, path: str, mistakes: Mistakes
) -> None:
    """Add one mistake for each place that pydantic complains about.

    block: the `with:` node, or None when the stage has none; `key` is then the place to name.
    """
    told: dict[str, tuple[Node, list[str], str]] = {}
    for detail in error.errors(include_url=False):
        node, steps = _walk(block, key, detail)
        dotted = ".".join([path, *steps])
        what, hint = _say(detail, model, steps, dotted)
        told.setdefault(dotted, (node, [], hint))[1].append(what)
    for dotted, (node, whats, hint) in told.items():
        mistakes.add(node, dotted, " or ".join(dict.fromkeys(whats)), hint)


def _walk(block: Node | None, key: Node, detail: ErrorDetails) -> tuple[Node, list[str]]:
    """The node that an error is about and its steps below `with`; tags of unions, which are no keys, are left out."""
    node: Node = block or key
    steps: list[str] = []
    missing = detail["type"] == "missing"
    for i, step in enumerate(detail["loc"]):
        below = source.entries(node)
        if isinstance(node, MappingNode) and str(step) in below:
            last = detail["type"] == "extra_forbidden" and i == len(detail["loc"]) - 1
            node = below[str(step)][0 if last else 1]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif not (missing and i == len(detail["loc"]) - 1):
            continue
        steps.append(str(step))
    return node, steps


def _say(detail: ErrorDetails, model: type[BaseModel], steps: list[str], dotted: str) -> tuple[str, str]:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        owner = _owner(model, steps[:-1])
        return "unknown key", did_you_mean(steps[-1], owner.model_fields if owner else ())
    owner = _owner(model, steps[:-1])
    field = owner.model_fields.get(steps[-1]) if owner and steps else None
    if kind == "missing":
        return "is missing", field.description or "" if field else ""
    text = re.sub(r"^(Input should be |Value error, |Assertion failed, )", "", detail["msg"])
    if kind in ("value_error", "assertion_error"):
        return text, ""
    text = re.sub(r"^a valid (?=[aeiou])", "an ", text)
    text = re.sub(r"^a valid ", "a ", text).split(", unable to parse")[0]
    shown = repr(value) if isinstance(value, str | int | float | bool) or value is None else type(value).__name__
    hint = _example(field)
    if kind == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", ""))))
        hint = near if near.startswith("did") else hint
    return f"must be {text}, not {shown}", hint


def _example(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    default = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if default is PydanticUndefined or default is None or default == "":
        return field.description or ""
    return f"for example {default}: {field.description}" if field.description else f"for example {default}"


def _owner(model: type[BaseModel], steps: list[str]) -> type[BaseModel] | None:
    """The nested model that `steps` lead to, where the annotations say so."""
    current: Any = model
    for step in steps:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return None
        field = current.model_fields.get(step)
        choices = _models(field.annotation) if field else []
        if len(choices) != 1:
            return None
        current = choices[0]
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]
