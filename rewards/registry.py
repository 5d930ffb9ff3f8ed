"""The reward vocabulary: what a reward is, which ones exist, how their settings are checked.

A reward is a function of one `Sample` (or, with `group=True`, of all samples of one prompt). Its keyword-only
arguments are its settings in the pipeline file. It returns a number, or None where it does not apply.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, overload

from rollout.types import Sample

Label = Literal["gold", "junk", "none"]
RewardFunction = Callable[..., Any]
SettingsCheck = Callable[[Mapping[str, Any]], Iterable[str]]

BUILT_IN = {
    "math": "rewards.math.reward",
    "code": "rewards.code.reward",
    "format": "rewards.format",
    "language": "rewards.language",
    "length": "rewards.length",
    "repetition": "rewards.repetition",
    "judge": "rewards.judge.reward",
    "preference": "rewards.preference",
}
NEEDS_SETTINGS = frozenset({"judge"})  # built-in rewards that a bare weight is not enough for
ENTRY_POINTS = "r1.rewards"
SAMPLE_FIELDS = frozenset(field.name for field in fields(Sample))


class RewardError(ValueError):
    """A mistake in how a reward is written, named or configured; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One keyword-only argument of a reward: its declared type and its default (`inspect.Parameter.empty`: none)."""

    name: str
    type: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Case:
    """A worked example of a reward: `gold` must score above every `junk`; `none` must not apply.

    A group reward is judged by the score of the first of `samples`.
    """

    label: Label
    samples: tuple[Sample, ...]
    knobs: Mapping[str, Any]


@dataclass(frozen=True)
class Reward:
    """A registered reward. Calling it calls the function, so it stays easy to try in a shell.

    `caveat`: what its cases cannot show, for `r1 rewards check`; usually empty.
    """

    name: str
    function: RewardFunction
    group: bool
    cases: tuple[Case, ...]
    knobs: Mapping[str, Knob]
    summary: str
    source: str
    check: SettingsCheck | None = None
    caveat: str = ""

    def __call__(self, *args: Any, **knobs: Any) -> Any:
        return self.function(*args, **knobs)

    def default(self, setting: str) -> Any:
        """The default of a setting; None where there is no such setting or no default."""
        knob = self.knobs.get(setting)
        return None if knob is None or knob.required else knob.default

    def configure(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Checked settings (ints become floats where a float is declared).

        Raises:
            RewardError: an unknown setting, a wrong type, a missing required one, or what the reward's own check finds.
        """
        checked: dict[str, Any] = {}
        for key, value in settings.items():
            knob = self.knobs.get(key)
            if knob is None:
                known = ", ".join(self.knobs) or "none"
                raise RewardError(
                    f"reward {self.name!r} has no setting {key!r}{did_you_mean(key, self.knobs)} (settings: {known})"
                )
            checked[key] = _checked(value, knob.type, f"reward {self.name!r}: {key}")
        missing = [knob.name for knob in self.knobs.values() if knob.required and knob.name not in checked]
        if missing:
            raise RewardError(f"reward {self.name!r} needs the setting {missing[0]!r}")
        if self.check is not None:
            defaults = {knob.name: knob.default for knob in self.knobs.values() if not knob.required}
            if faults := list(self.check(defaults | checked)):
                raise RewardError(f"reward {self.name!r}: {'; '.join(faults)}")
        return checked


_REWARDS: dict[str, Reward] = {}
_LOADED_FILES: dict[tuple[Path, bytes], tuple[Reward, ...]] = {}
_COLLECTING: list[list[Reward]] = []  # what the plugin file that is being run has defined so far


@overload
def reward(function: RewardFunction, /) -> Reward: ...
@overload
def reward(
    *,
    cases: Sequence[tuple[Any, ...]] = (),
    group: bool = False,
    name: str | None = None,
    check: SettingsCheck | None = None,
    caveat: str = "",
) -> Callable[[RewardFunction], Reward]: ...
def reward(
    function: RewardFunction | None = None,
    /,
    *,
    cases: Sequence[tuple[Any, ...]] = (),
    group: bool = False,
    name: str | None = None,
    check: SettingsCheck | None = None,
    caveat: str = "",
) -> Reward | Callable[[RewardFunction], Reward]:
    """Register a function as a reward under its own name (or `name`).

    Args:
        cases: worked examples `(label, content)` or `(label, content, extras)` that `r1 rewards check` runs. Label is
            "gold", "junk" (every gold must score above every junk) or "none" (must return None). Content is a
            completion or a `Sample`; for a group reward a list of them, of which the first one's score is judged.
            `extras` sets other fields of the sample (`{"answer": "12", "row": {...}}`) and settings of the reward.
        group: the function takes all samples of one prompt and returns one score for each; an exception in place of
            a score is the failure of that sample alone.
        check: called with all settings, defaults included, while the pipeline file is read; yields what is wrong with
            them, each in one line.
        caveat: what the cases cannot show; `r1 rewards check` says it.

    Raises:
        RewardError: the signature or a case is malformed, or the name is taken.
    """

    def register(function: RewardFunction) -> Reward:
        made = replace(_make(function, name or function.__name__, cases, group, check), caveat=caveat)
        if made.name in BUILT_IN and function.__module__ != BUILT_IN[made.name]:
            raise RewardError(f"reward {made.name!r} is built in; give yours another name")
        if _COLLECTING:
            if any(made.name == other.name for other in _COLLECTING[-1]):
                raise RewardError(f"reward {made.name!r} is defined twice in {made.source}")
            _COLLECTING[-1].append(made)
        _REWARDS[made.name] = made
        return made

    return register if function is None else register(function)


def _make(
    function: RewardFunction, name: str, cases: Sequence[tuple[Any, ...]], group: bool, check: SettingsCheck | None
) -> Reward:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RewardError(f"reward {name!r} is async; rewards are plain functions: write `def`, not `async def`")
    hints = typing.get_type_hints(function)
    knobs: dict[str, Knob] = {}
    positional = 0
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.name in SAMPLE_FIELDS or parameter.name == "weight":
                raise RewardError(f"reward {name!r}: {parameter.name!r} cannot be a setting, the name is taken")
            knobs[parameter.name] = Knob(parameter.name, hints.get(parameter.name, Any), parameter.default)
        elif parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
        else:
            raise RewardError(f"reward {name!r}: *args and **kwargs are not allowed, name the settings")
    if positional != 1:
        raise RewardError(
            f"reward {name!r} must take exactly one positional argument (the sample"
            f"{'s of a group' if group else ''}); settings go after a bare `*`"
        )
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    made = tuple(_case(case, name, group, knobs) for case in cases)
    return Reward(name, function, group, made, knobs, summary, function.__code__.co_filename, check)


def _case(case: tuple[Any, ...], name: str, group: bool, knobs: Mapping[str, Knob]) -> Case:
    if not isinstance(case, tuple) or len(case) not in (2, 3) or case[0] not in ("gold", "junk", "none"):
        raise RewardError(f'reward {name!r}: a case is ("gold" | "junk" | "none", completion or Sample[, extras])')
    extras: Mapping[str, Any] = case[2] if len(case) == 3 else {}
    for key in extras:
        if key not in SAMPLE_FIELDS and key not in knobs:
            raise RewardError(
                f"reward {name!r}: a case sets {key!r}, which is no field of Sample and no setting"
                f"{did_you_mean(key, [*SAMPLE_FIELDS, *knobs])}"
            )
    shared = {key: value for key, value in extras.items() if key in SAMPLE_FIELDS}
    contents = case[1] if group and isinstance(case[1], (list, tuple)) else [case[1]]
    samples = tuple(_case_sample(content, shared, name) for content in contents)
    return Case(case[0], samples, {key: value for key, value in extras.items() if key in knobs})


def _case_sample(content: Sample | str, shared: Mapping[str, Any], name: str) -> Sample:
    if isinstance(content, Sample):
        values = {field: getattr(content, field) for field in SAMPLE_FIELDS}
        return Sample(**{**values, **shared})
    if not isinstance(content, str):
        raise RewardError(f"reward {name!r}: a case's content is {type(content).__name__}, not a completion or Sample")
    return Sample(**{"prompt": "", "completion": content, "n_tokens": len(content.split()), **shared})


def load_plugins(paths: Iterable[str | Path] = ()) -> list[str]:
    """Import plugin files and the installed `r1.rewards` entry points; the names they define.

    A file is run once for each content it has. Of two files in one call none may define a name of the other; a file
    of a later call replaces what an earlier one called the same.

    Raises:
        RewardError: a file is missing, cannot be imported, or registers no reward; a name is taken.
    """
    from importlib.metadata import entry_points  # 40 ms, needed here only

    owners: dict[str, str] = {}
    for path in paths:
        resolved = Path(path).expanduser().resolve()
        for made in _load_file(resolved):
            if owners.setdefault(made.name, str(resolved)) != str(resolved):
                raise RewardError(f"reward {made.name!r} is defined twice: {owners[made.name]} and {resolved}")
            _REWARDS[made.name] = made
    loaded_names = list(owners)
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
        except Exception as error:
            raise RewardError(f"reward entry point {entry.name!r} ({entry.value}) failed: {error!r}") from error
        loaded_names += [loaded.name] if isinstance(loaded, Reward) else []
    return loaded_names


def _load_file(path: Path) -> tuple[Reward, ...]:
    """The rewards a file defines; run again only if its content changed."""
    if not path.is_file():
        raise RewardError(f"reward file {path} does not exist")
    key = path, path.read_bytes()
    if key in _LOADED_FILES:
        return _LOADED_FILES[key]
    module_name = f"r1_reward_file_{len(_LOADED_FILES)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RewardError(f"reward file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    made: list[Reward] = []
    _COLLECTING.append(made)
    try:
        exec(compile(key[1], str(path), "exec", dont_inherit=True), module.__dict__)
    except RewardError:
        raise
    except (Exception, SystemExit) as error:  # a file that says sys.exit() must not end r1 as if all were well
        raise RewardError(f"reward file {path} failed to load: {_what_failed(error, path)}") from error
    finally:
        _COLLECTING.pop()
    if not made:
        raise RewardError(f"reward file {path} registers no reward: decorate a function with @reward")
    _LOADED_FILES[key] = tuple(made)
    return tuple(made)


def _what_failed(error: BaseException, path: Path) -> str:
    """`line 3: ValueError: what it says` on one line: the last line of the file that was being run."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    told = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return f"line {lines[-1]}: {told}" if lines else told


def get(name: str) -> Reward:
    """The reward called `name`; built-ins are imported on demand.

    Raises:
        RewardError: no such reward, with the nearest names.
    """
    if name not in _REWARDS and name in BUILT_IN:
        importlib.import_module(BUILT_IN[name])
    found = _REWARDS.get(name)
    if found is None:
        raise RewardError(f"unknown reward {name!r}{did_you_mean(name, names())} (known: {', '.join(names())})")
    return found


def names() -> list[str]:
    """All rewards: built-ins first, then the plugins loaded so far."""
    return [*BUILT_IN, *(name for name in _REWARDS if name not in BUILT_IN)]


def parse_weights(weights: Mapping[str, Any]) -> dict[str, tuple[float, dict[str, Any]]]:
    """`{name: weight}` or `{name: {weight: ..., setting: ...}}` to `{name: (weight, settings)}`, all checked.

    Raises:
        RewardError: an unknown reward or setting, a wrong type, a weight that is no finite number.
    """
    parsed: dict[str, tuple[float, dict[str, Any]]] = {}
    for name, value in weights.items():
        found = get(name)
        settings = dict(value) if isinstance(value, Mapping) else {"weight": value}
        weight = _checked(settings.pop("weight", 1.0), float, f"reward {name!r}: weight")
        if not math.isfinite(weight):
            raise RewardError(f"reward {name!r}: weight must be finite, not {weight}")
        parsed[name] = (weight, found.configure(settings))
    if not parsed:
        raise RewardError("no rewards given: name at least one, for example {math: 1.0}")
    return parsed


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _checked(value: Any, declared: Any, where: str) -> Any:
    """`value` as the declared type: bool, int, float, str, Literal, list, dict, and unions of them."""
    origin, args = typing.get_origin(declared), typing.get_args(declared)
    if declared is Any:
        return value
    if origin in (typing.Union, UnionType):
        for choice in args:
            try:
                return _checked(value, choice, where)
            except RewardError:
                continue
    elif origin is Literal:
        if value in args:
            return value
    elif declared in (NoneType, None):
        if value is None:
            return None
    elif declared is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return float(value)
            except ValueError as error:
                raise RewardError(f"{where} must be float, not {value!r}") from error
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif declared is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, typing.cast(type, origin or declared)):
        return value
    name = declared.__name__ if isinstance(declared, type) else str(declared)
    raise RewardError(f"{where} must be {name}, not {value!r}")
