"""YAML with positions: every value remembers the line it came from, so that every mistake can name it.

Nodes are PyYAML's own; a node's `start_mark` holds the file name and the line, or the flag that it came from.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

STR = "tag:yaml.org,2002:str"
MAP = "tag:yaml.org,2002:map"


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: only true and false are booleans (`packing: off` is a word), `1e-5` is a number, and
    a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in listed if tag.rpartition(":")[2] not in ("bool", "timestamp")]
    for first, listed in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class ConfigError(Exception):
    """Mistakes of the user, one finished line each. The command line prints them and exits with 2."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


class Mistakes:
    """Collects every mistake of one file, to report them together and in the order of the lines."""

    def __init__(self) -> None:
        self._found: list[tuple[bool, int, str]] = []

    def add(self, node: Node | None, path: str, what: str, hint: str = "") -> None:
        """`what` is wrong at `path` (dotted, '' for the whole file); `hint` goes into brackets at the end."""
        place = where(node) if node is not None else ""
        text = ": ".join(part for part in (place, path, what) if part) + (f" ({hint})" if hint else "")
        flag = node is not None and typed(node)
        line = node.start_mark.line if node is not None else -1
        if (flag, line, text) not in self._found:
            self._found.append((flag, line, text))

    def __len__(self) -> int:
        return len(self._found)

    def stop(self) -> None:
        """Raise ConfigError if anything was found."""
        if self._found:
            raise ConfigError([text for _, _, text in sorted(self._found, key=lambda item: item[:2])])


def where(node: Node) -> str:
    """`file:line` of a node, or the flag or command that set it."""
    mark = node.start_mark
    return str(mark.name) if typed(node) else f"{mark.name}:{mark.line + 1}"


def typed(node: Node) -> bool:
    """Whether a node comes from the command line (`--seed`, `` `r1 sft` ``) and not from a file."""
    return str(node.start_mark.name).startswith(("--", "`r1 "))


def reason(error: OSError) -> str:
    """What the system says is wrong, to stand inside a line: `permission denied`."""
    return (error.strerror or str(error)).lower()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean x?` where something is close, else the list of what is known."""
    listed = list(known)
    near = difflib.get_close_matches(word, listed, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(listed)}" if listed else ""


def compose(text: str, name: str) -> Node | None:
    """The node tree of one YAML document; None when it is empty.

    Raises:
        ConfigError: no valid YAML, with the line.
    """
    try:
        loader = _Loader(text)  # reads the first letters: a control character is found here
        loader.name = name
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError([_syntax(error, name)]) from error


def _syntax(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = name if mark is None or name.startswith("--") else f"{name}:{mark.line + 1}"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return f"{place}: not valid YAML: {problem} (check the indentation and the brackets around here)"


def read(path: Path) -> Node:
    """The top mapping of a pipeline file.

    Raises:
        ConfigError: no such file, not text, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near) or "`r1 init DIR` writes one to start from"
        raise ConfigError([f"{path}: no such file ({hint})"]) from None
    except IsADirectoryError:
        inside = sorted(path.glob("*.y*ml"))
        hint = f" ({', '.join(map(str, inside[:3]))})" if inside else ""
        raise ConfigError([f"{path}: is a folder: name the pipeline file in it{hint}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError([f"{path}: cannot be read: {why}"]) from None
    node = compose(text, str(path))
    if not isinstance(node, MappingNode):
        raise ConfigError([f"{path}:1: a pipeline file is a mapping with `stages:` (`r1 init DIR` writes one)"])
    return node


def lint(node: Node, path: str, mistakes: Mistakes, seen: set[int] | None = None) -> None:
    """Report what YAML would swallow in silence: duplicate keys, merges, keys that are no plain words."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for i, item in enumerate(node.value):
            lint(item, f"{path}.{i}" if path else str(i), mistakes, seen)
    if isinstance(node, MappingNode):
        first: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                mistakes.add(key, path, "a key must be a plain word")
                continue
            below = f"{path}.{key.value}" if path else key.value
            if key.value == "<<":
                mistakes.add(key, below, "merge keys are not supported", "write the keys out")
            elif key.value in first:
                mistakes.add(key, below, "duplicate key", f"first given on line {first[key.value].start_mark.line + 1}")
            first.setdefault(key.value, key)
            lint(value, below, mistakes, seen)


def entries(node: Node | None) -> dict[str, tuple[Node, Node]]:
    """A mapping node as {key: (key node, value node)}; empty for anything else. What `lint` has told of is left out."""
    if not isinstance(node, MappingNode):
        return {}
    pairs = [(k, v) for k, v in node.value if isinstance(k, ScalarNode) and k.value != "<<"]
    return {key.value: (key, value) for key, value in pairs}


def items(node: Node) -> list[Node]:
    """The items of a list node; empty for anything else."""
    return list(node.value) if isinstance(node, SequenceNode) else []


def is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null")


def value(node: Node, path: str, mistakes: Mistakes) -> Any:
    """The Python value of a node; None, and a mistake, where YAML cannot make one (`!!python/...`)."""
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError, IndexError, AttributeError, TypeError) as error:
        mistakes.add(node, path, f"not a plain value: {getattr(error, 'problem', None) or error}")
        return None


def describe(node: Node) -> str:
    """A node in a message: scalars as written, the rest by its kind."""
    if isinstance(node, ScalarNode):
        return repr(node.value) if node.value else "empty"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def override(root: Node, text: str, mistakes: Mistakes) -> None:
    """Apply `--set a.b.c=value` to the tree; the value is YAML. Only `with`, `from` and what is below may be new."""
    flag = f"--set {text}"
    path, equals, content = text.partition("=")
    steps = path.split(".")
    mark = yaml.Mark(flag, 0, 0, 0, None, 0)
    here = ScalarNode(STR, path, mark, mark)
    if not equals or not all(steps):
        mistakes.add(here, "", "not of the form a.b.c=value", "for example --set stages.reason.with.steps=20")
        return
    try:
        new = compose(content, flag) or ScalarNode("tag:yaml.org,2002:null", "", mark, mark)
    except ConfigError as error:
        mistakes.add(here, path, error.lines[0].removeprefix(f"{flag}: "))
        return
    node = root
    for depth, step in enumerate(steps[:-1]):
        known = entries(node)
        if step not in known:
            if depth < 2 or (depth == 2 and step not in ("with", "from")):
                choices = ("with", "from", "use") if depth == 2 else known
                mistakes.add(here, ".".join(steps[: depth + 1]), "no such entry", did_you_mean(step, choices))
                return
            _put(node, step, MappingNode(MAP, [], mark, mark), mark)
        node = _own(node, step)
        if is_null(node):
            node.__class__, node.tag, node.value = MappingNode, MAP, []
        if not isinstance(node, MappingNode):
            mistakes.add(here, ".".join(steps[: depth + 1]), f"is {describe(node)}, so nothing can be set below it")
            return
    lint(new, path, mistakes)
    _put(node, steps[-1], new, mark)


def _own(mapping: Node, key: str) -> Node:
    """The node below `key`, first made a copy of its own: what a YAML alias shares stays as it is elsewhere."""
    at = next(i for i, (k, _) in enumerate(mapping.value) if k.value == key)
    word, below = mapping.value[at]
    mapping.value[at] = (word, deepcopy(below))
    return mapping.value[at][1]  # type: ignore[no-any-return]


def expanded(text: str | Path) -> Path:
    """A path with `~` filled in; as it stands where there is no such user, so that it is simply not found."""
    with suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _put(mapping: Node, key: str, new: Node, mark: yaml.Mark) -> None:
    kept = [(k, v) for k, v in mapping.value if k.value != key]
    place = next((i for i, (k, _) in enumerate(mapping.value) if k.value == key), len(kept))
    mapping.value = [*kept[:place], (ScalarNode(STR, key, mark, mark), new), *kept[place:]]


def tree(content: Mapping[str, Any], name: str) -> MappingNode:
    """A mapping node from Python: values may be nodes already, texts (taken as text), or mappings of these."""
    mark = yaml.Mark(name, 0, 0, 0, None, 0)
    pairs: list[tuple[Node, Node]] = []
    for key, item in content.items():
        if isinstance(item, Mapping):
            made: Node = tree(item, name)
        else:
            made = item if isinstance(item, Node) else ScalarNode(STR, str(item), mark, mark)
        pairs.append((ScalarNode(STR, key, mark, mark), made))
    return MappingNode(MAP, pairs, mark, mark)
