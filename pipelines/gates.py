"""`needs:` on a stage: it begins only if an evaluation says that a model is good enough, or better than another one."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node

from pipelines import source
from pipelines.artifacts import Scores, read_rows
from pipelines.graph import Ref
from pipelines.source import Mistakes, did_you_mean
from pipelines.stage import Stage

COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
BOUND = re.compile(r"\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*")
METRIC = re.compile(r"(?:(?P<family>[^/]+)/)?(?P<name>pass@(?P<k>\d+)|cons@k|finished|mean_tokens)")
WORDS = ("scores", "model", "vs", "p")
EXAMPLE = 'for example {pass@1: ">= 0.6", vs: cold, p: 0.05}'
FINEST = 840  # a share of up to 8 samples is a whole number of 840ths; larger k is rounded to them


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold before a stage begins.

    scores: the eval stage. model: its label there. bounds: {metric: (comparison, value)}. vs: the label of the model
    that it must beat, with a one-sided p-value of at most `p`.
    """

    scores: str
    model: str
    bounds: Mapping[str, tuple[str, float]]
    vs: str | None
    p: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the gate is open, and one line for each thing that was asked."""

    passed: bool
    lines: list[str]

    def __str__(self) -> str:
        return "; ".join(self.lines)


def connect(
    named: Mapping[str, tuple[Node, Node]],
    kinds: Mapping[str, Stage | None],
    inputs: Mapping[str, Mapping[str, Sequence[Ref]]],
    mistakes: Mistakes,
) -> dict[str, Gate]:
    """The checked gates of a file: {stage: gate}."""
    found = {}
    for name, (_, node) in named.items():
        _, block = source.entries(node).get("needs", (None, None))
        if block is None or source.is_null(block) or kinds[name] is None:
            continue
        path = f"stages.{name}.needs"
        if not isinstance(block, MappingNode) or not block.value:
            mistakes.add(block, path, f"must be a mapping, not {source.describe(block)}", EXAMPLE)
            continue
        before = len(mistakes)
        content = source.value(block, path, mistakes)
        if len(mistakes) == before:
            gate = _gate(name, content, kinds, inputs, path, source.entries(block), mistakes)
            if gate is not None and len(mistakes) == before:
                found[name] = gate
    return found


def _gate(
    stage: str,
    content: Mapping[str, Any],
    kinds: Mapping[str, Stage | None],
    inputs: Mapping[str, Mapping[str, Sequence[Ref]]],
    path: str,
    nodes: Mapping[str, tuple[Node, Node]],
    mistakes: Mistakes,
) -> Gate | None:
    def wrong(word: str, what: str, hint: str = "") -> None:
        mistakes.add(nodes[word][1] if word in nodes else next(iter(nodes.values()))[1], f"{path}.{word}", what, hint)

    before = len(mistakes)
    bounds = _bounds(content, path, nodes, mistakes)
    for word in ("model", "vs", "scores"):
        if word in content and not isinstance(content[word], str):
            wrong(word, f"must be a name, not {source.describe(nodes[word][1])}")
    p = content.get("p", 0.05)
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 < p < 1:
        wrong("p", f"must be between 0 and 1, not {p}", "for example 0.05")
    if len(mistakes) > before:
        return None
    if not bounds and "vs" not in content:
        wrong("pass@1", "nothing is asked", EXAMPLE)
        return None
    labels = {
        s: _labels(kind, inputs[s]) for s, kind in kinds.items() if kind is not None and Scores in kind.outputs.values()
    }
    model = content.get("model") or _own_model(inputs[stage])
    wanted = [model, *([content["vs"]] if "vs" in content else [])]
    if model is None:
        wrong("model", f"{stage} takes no one model: say whose scores count", "for example model: reason")
        return None
    fitting = [s for s, known in labels.items() if s != stage and all(label in known for label in wanted)]
    chosen = content.get("scores") or (fitting[0] if len(fitting) == 1 else None)
    if chosen is None:
        known = sorted({label for some in labels.values() for label in some})
        several = f"several stages score {' and '.join(wanted)}: {', '.join(fitting)}"
        nobody = f"no eval stage scores {' and '.join(map(str, wanted))}"
        wrong(
            "scores",
            several if fitting else nobody,
            "say scores: STAGE" if fitting else f"scored: {', '.join(known) or 'none'}",
        )
    elif chosen not in labels:
        wrong("scores", f"`{chosen}` is no eval stage of this file", did_you_mean(str(chosen), labels))
    else:
        for word, label in zip(("model", "vs"), wanted, strict=False):
            if label not in labels[chosen]:
                wrong(word, f"`{chosen}` does not score {label}", did_you_mean(str(label), labels[chosen]))
        return Gate(str(chosen), str(model), bounds, content.get("vs"), float(p))
    return None


def _bounds(
    content: Mapping[str, Any], path: str, nodes: Mapping[str, tuple[Node, Node]], mistakes: Mistakes
) -> dict[str, tuple[str, float]]:
    """The bounds of a gate by metric; what is neither a metric nor a word of gates is a mistake."""
    bounds = {}
    for word, value in content.items():
        if word in WORDS:
            continue
        key, node = nodes.get(str(word)) or next(iter(nodes.values()))
        bound = _bound(value)
        if not isinstance(word, str) or METRIC.fullmatch(word) is None:
            hint = did_you_mean(str(word), (*WORDS, "pass@1", "cons@k"))
            mistakes.add(key, f"{path}.{word}", "unknown key", hint)
        elif bound is None:
            what = f"must be a bound, not {source.describe(node)}"
            mistakes.add(node, f"{path}.{word}", what, 'for example ">= 0.6"')
        else:
            bounds[word] = bound
    return bounds


def _bound(value: object) -> tuple[str, float] | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ">=", float(value)
    found = BOUND.fullmatch(value) if isinstance(value, str) else None
    return (found[1], float(found[2])) if found is not None else None


def _labels(kind: Stage, inputs: Mapping[str, Sequence[Ref]]) -> list[str]:
    """What an eval stage calls the models that it scores."""
    return [ref.label for slot, refs in inputs.items() if kind.inputs[slot].shape == "dict" for ref in refs]


def _own_model(inputs: Mapping[str, Sequence[Ref]]) -> str | None:
    refs = inputs.get("model", ())
    return refs[0].label if len(refs) == 1 else None


def judge(gate: Gate, folder: Path) -> Verdict:
    """Read the scores that an eval stage left in a folder.

    Raises:
        KeyError: they hold no such model, family or size of k; the message is for the user.
    """
    models = json.loads((folder / "scores.json").read_text())["models"]
    passed, lines = True, []
    for metric, (sign, bound) in gate.bounds.items():
        value = _metric(models, gate.model, metric)
        good = value is not None and COMPARISONS[sign](value, bound)
        passed &= good
        shown = "unknown" if value is None else f"{value:.3f}"
        lines.append(f"{gate.model} {metric} {shown} is {'' if good else 'not '}{sign} {bound:g}")
    if gate.vs is not None:
        difference, p, n = paired(read_rows(folder / "samples.parquet"), gate.model, gate.vs)
        good = p <= gate.p
        passed &= good
        said = "is better than" if good else "is not better than"
        lines.append(
            f"{gate.model} {said} {gate.vs}: {100 * difference:+.1f} points on {n} problems, "
            f"p {p:.2g} {'<=' if good else '>'} {gate.p:g}"
        )
    return Verdict(passed, lines)


def _metric(models: Mapping[str, Any], model: str, metric: str) -> float | None:
    found = METRIC.fullmatch(metric)
    assert found is not None and model in models
    numbers = models[model]
    if found["family"]:
        if found["family"] not in numbers["families"]:
            raise KeyError(f"{metric}: no family {found['family']} ({', '.join(numbers['families'])})")
        numbers = numbers["families"][found["family"]]
    if found["k"] is None or found["name"] == "pass@1":
        return numbers[found["name"]]  # type: ignore[no-any-return]
    if found["k"] not in numbers["pass@k"]:
        raise KeyError(f"{metric}: the scores hold pass@{', pass@'.join(numbers['pass@k'])}")
    return numbers["pass@k"][found["k"]]  # type: ignore[no-any-return]


def paired(rows: Sequence[Mapping[str, Any]], model: str, other: str) -> tuple[float, float, int]:
    """How much better a model is than another on the same problems, and how likely that is by chance.

    Returns the mean difference of pass@1, the one-sided p-value of the exact sign-flip test (Fisher's randomisation
    test: under the null each problem's difference is as likely to have the other sign), and the number of problems
    that both have graded samples of.
    """
    gaps = differences(rows, model, other)
    return (sum(gaps) / FINEST / len(gaps), sign_flip(gaps), len(gaps)) if gaps else (0.0, 1.0, 0)


def differences(rows: Sequence[Mapping[str, Any]], model: str, other: str) -> list[int]:
    """Pass@1 of a model minus that of another, in 1/FINEST, for each problem that both have graded samples of."""
    shares: dict[str, dict[str, list[bool]]] = {model: {}, other: {}}
    for row in rows:
        if row["model"] in shares and row["correct"] is not None:
            shares[row["model"]].setdefault(str(row["id"]), []).append(bool(row["correct"]))
    both = sorted(shares[model].keys() & shares[other].keys())
    return [_share(shares[model][one]) - _share(shares[other][one]) for one in both]


def _share(verdicts: Sequence[bool]) -> int:
    return round(FINEST * sum(verdicts) / len(verdicts))


def sign_flip(gaps: Sequence[int]) -> float:
    """P(sum of the gaps with random signs >= their sum), exactly: the distribution of the sum, built gap by gap."""
    sizes = [abs(gap) for gap in gaps if gap]
    unit = math.gcd(*sizes) if sizes else 1
    sizes = [size // unit for size in sizes]
    observed, total = sum(gaps) // unit, sum(sizes)
    chances = {0: 1.0}
    if total > 200_000:  # very many problems: the sum is normal to any purpose
        return 0.5 * math.erfc(observed / math.sqrt(2 * sum(size**2 for size in sizes)))
    for size in sizes:
        grown: dict[int, float] = {}
        for value, chance in chances.items():
            for moved in (value + size, value - size):
                grown[moved] = grown.get(moved, 0.0) + chance / 2
        chances = grown
    return min(1.0, math.fsum(chance for value, chance in chances.items() if value >= observed))
