"""Before any work: does this machine isolate programs as well as the pipeline asks for?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.graph import Node
from pipelines.source import ConfigError


def require(nodes: Iterable[Node]) -> None:
    """Compare the sandbox's level with `min_level` of the `code` reward of each stage; without one, do nothing.

    Raises:
        ConfigError: a line for each stage that asks for more than there is.
    """
    asking = {node.name: settings["code"] for node in nodes if "code" in (settings := _rewards(node))}
    if not asking:
        return
    from rewards.code import InfrastructureError, discard, require_level
    from rewards.registry import get

    lines = []
    default = get("code").knobs["min_level"].default
    for name, value in asking.items():
        level = value.get("min_level", default) if isinstance(value, Mapping) else default
        try:
            require_level(level)
        except InfrastructureError as error:
            hint = "`r1 doctor` shows the layers; state a lower min_level to accept less"
            lines.append(f"stages.{name}.with.rewards.code: {error} ({hint})")
    discard()
    if lines:
        raise ConfigError(lines)


def _rewards(node: Node) -> Mapping[str, object]:
    found = getattr(node.config, "rewards", None)
    return found if isinstance(found, Mapping) else {}
