"""The `judge` reward: a model behind an OpenAI-compatible server grades the answers of a group."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal
from urllib.parse import urlsplit

from rewards.judge.client import JudgeServer
from rewards.judge.panel import Panel
from rewards.judge.prompts import Question, compare_two, compare_with_reference, grade_by_rubric, neutral
from rewards.judge.rules import answer_of, is_refused, is_same
from rewards.registry import reward
from rollout.types import Sample

Mode = Literal["reference", "rubric", "pair"]
Score = float | None | Exception
NOBODY: dict[str, Any] = {"url": "http://127.0.0.1:9/v1", "model": "nobody"}  # the cases below ask no judge
CAPITAL: dict[str, Any] = {**NOBODY, "prompt": "Which city is the capital of France?", "answer": "Paris"}
DUEL: dict[str, Any] = {**NOBODY, "prompt": "Say hello.", "mode": "pair"}


def faults(settings: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with settings of the right types, each in one line: what, and what to do."""
    yield from _address_faults(settings["url"], settings["key_env"])
    for name in ("votes", "opponents", "concurrency", "max_tokens", "max_chars"):
        if settings[name] < 1:
            yield f"{name} must be at least 1, not {settings[name]}"
    for name in ("timeout", "wall_s"):
        if not 0 < settings[name] < float("inf"):
            yield f"{name} must be above 0 seconds, not {settings[name]:g}"
    if settings["retries"] < 0 or not 0 <= settings["temperature"] <= 2:
        yield "retries must be at least 0 and temperature from 0 to 2"
    if settings["votes"] > 1 and settings["temperature"] == 0:
        yield f"votes {settings['votes']} at temperature 0 are one vote: raise temperature, or set votes: 1"
    if settings["rubric"] and settings["mode"] != "rubric":
        yield f"rubric is given but mode is {settings['mode']}: set mode: rubric, or drop it"
    if settings["cache"] and not Path(settings["cache"]).expanduser().is_absolute():
        yield f"cache must be an absolute path or begin with ~/, not {settings['cache']!r}"
    if "messages" in (settings["body"] or {}):
        yield "body cannot hold messages: the reward writes them"


def _address_faults(url: str, key_env: str) -> Iterable[str]:
    shape = "url must look like http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        yield shape
        return
    if parts.username or parts.password:
        yield f"{shape}, without a name or key in it: put the key into a variable and name that in key_env"
    elif not whole or parts.query or parts.fragment:
        yield f"{shape}, not {url!r}"
    elif parts.path.rstrip("/").endswith("/chat/completions"):
        yield f"{shape}: leave out /chat/completions"
    if key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_env):
        yield "key_env must be the name of an environment variable, such as JUDGE_KEY; never the key itself"
    elif key_env and not os.environ.get(key_env):
        yield f"the environment variable {key_env} (key_env) is not set: export it before you start r1"
    elif key_env and not re.fullmatch(r"[!-~]+", os.environ[key_env]):
        yield f"the key in {key_env} (key_env) has white space or letters outside ASCII in it: export it without"


@reward(
    group=True,
    check=faults,
    cases=[
        ("gold", "<think>It is known.</think><answer>Paris</answer>", CAPITAL),
        ("gold", "<answer> PARIS\n</answer>", CAPITAL),
        ("junk", "<answer></answer>", CAPITAL),
        ("junk", "<answer>:</answer>", CAPITAL),
        ("junk", "<answer>Thought process:</answer>", CAPITAL),
        ("junk", "<answer>**Let's solve this problem step by step.**</answer>", CAPITAL),
        ("junk", "<think>It is Paris", CAPITAL),
        ("none", "<answer>Paris</answer>", {**CAPITAL, "answer": None}),
        ("none", "<answer>Paris</answer>", {**CAPITAL, "families": ["chemistry"]}),
        ("gold", ["<answer>Hello!</answer>", "<answer>:</answer>"], DUEL),
        ("junk", ["<answer>Solution:</answer>", "<answer>Hello!</answer>"], DUEL),
        ("none", ["<answer>Hello!</answer>"], DUEL),
    ],
)
def judge(
    samples: list[Sample],
    *,
    url: str,
    model: str,
    mode: Mode = "reference",
    rubric: str = "",
    against: Literal["group", "reference"] = "group",
    opponents: int = 2,
    families: list[str] | None = None,
    see: Literal["answer", "completion"] = "answer",
    max_chars: int = 8000,
    votes: int = 1,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    structured: bool = True,
    key_env: str = "",
    timeout: float = 30.0,
    retries: int = 2,
    concurrency: int = 16,
    wall_s: float = 300.0,
    cache: str = "",
    body: dict[str, Any] | None = None,
) -> list[Score]:
    """An LLM judge's verdict: equal to the reference answer, points by a rubric, or better than other answers.

    `reference`: 1 if most votes say that the answer is the row's `answer`, else 0. `rubric`: the mean of 0 to 10
    points, as 0 to 1. `pair`: the share of comparisons won, a tie counting half (docs/rewards/judge.md has it all).
    Does not apply to rows without what the mode needs, nor outside `families`. A sample that the judge gives no
    verdict on is an error, in place of its score.
    """
    if not samples or (families is not None and samples[0].row.get("family") not in families):
        return [None] * len(samples)
    server = JudgeServer(url, model, key_env, timeout, retries, temperature, max_tokens, structured, body)
    panel = Panel(server, votes, concurrency, time.monotonic() + wall_s, cache)
    answers = [answer_of(sample.completion, see) for sample in samples]
    if mode == "reference":
        return _by_reference(panel, samples, answers, max_chars)
    if mode == "rubric":
        return _by_rubric(panel, samples, answers, rubric, max_chars)
    return _by_pairs(panel, samples, answers, opponents if against == "group" else None, max_chars)


def _asked(sample: Sample) -> str:
    """The question; of a conversation all turns, and the system text where there is one. Earlier thinking is left out,
    as it is from the model's own view."""
    turns = list(sample.row.get("messages") or [{"role": "user", "content": sample.prompt}])
    system = sample.row.get("system")
    if system and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    if len(turns) == 1:
        return str(turns[0]["content"])
    said = [(turn["role"], str(turn["content"])) for turn in turns]
    return "\n".join(f"{role}: {text.rpartition('</think>')[2].strip()}" for role, text in said)


def _by_reference(panel: Panel, samples: Sequence[Sample], answers: Sequence[str], max_chars: int) -> list[Score]:
    gold = samples[0].answer
    if gold is None or not gold.strip() or samples[0].row.get("tests"):  # with tests, `answer` is a program
        return [None] * len(samples)
    prompt, reference = neutral(_asked(samples[0]), max_chars), neutral(gold, max_chars)
    known: list[Score | Question] = []
    for answer in answers:
        if is_same(answer, gold):
            known.append(1.0)
        elif is_refused(answer):
            known.append(0.0)
        else:
            known.append(compare_with_reference(prompt, reference, neutral(answer, max_chars)))
    verdicts = panel.ask([one for one in known if isinstance(one, Question)])
    return [_share(verdicts[one]) if isinstance(one, Question) else one for one in known]


def _share(told: list[str] | Exception) -> Score:
    """1 if more than half of the votes say correct: a tie is not enough."""
    return told if isinstance(told, Exception) else float(2 * told.count("correct") > len(told))


def _by_rubric(
    panel: Panel, samples: Sequence[Sample], answers: Sequence[str], rubric: str, max_chars: int
) -> list[Score]:
    wanted = str(samples[0].row.get("rubric") or rubric)
    if not wanted.strip():
        return [None] * len(samples)
    prompt, wanted, reference = (
        neutral(text, max_chars) for text in (_asked(samples[0]), wanted, samples[0].answer or "")
    )
    asked = [
        None if is_refused(answer) else grade_by_rubric(prompt, wanted, reference, neutral(answer, max_chars))
        for answer in answers
    ]
    verdicts = panel.ask([one for one in asked if one is not None])
    return [0.0 if one is None else _points(verdicts[one]) for one in asked]


def _points(told: list[str] | Exception) -> Score:
    return told if isinstance(told, Exception) else fmean(int(points) for points in told) / 10


def _by_pairs(
    panel: Panel, samples: Sequence[Sample], answers: Sequence[str], opponents: int | None, max_chars: int
) -> list[Score]:
    """Each answer meets its next `opponents` neighbours in the group (in a ring), or (None) the reference answer."""
    size, texts = len(answers), list(answers)
    if opponents is None:
        if not (samples[0].answer or "").strip():
            return [None] * size
        texts.append(samples[0].answer or "")
        pairs = [(i, size) for i in range(size)]
    else:
        reach = min(opponents, size // 2)
        ring = ((i, (i + step) % size) for step in range(1, reach + 1) for i in range(size))
        pairs = list(dict.fromkeys((min(pair), max(pair)) for pair in ring))
    if not pairs:
        return [None] * size
    prompt, shown = neutral(_asked(samples[0]), max_chars), [neutral(text, max_chars) for text in texts]
    settled = {(i, j): _settle(texts[i], texts[j]) for i, j in pairs}
    open_pairs = [pair for pair in pairs if settled[pair] is None]
    asked = [compare_two(prompt, shown[a], shown[b]) for i, j in open_pairs for a, b in ((i, j), (j, i))]
    verdicts = panel.ask(asked)
    results: list[list[Score]] = [[] for _ in texts]
    for i, j in pairs:
        known = settled[i, j]
        forth, back = (compare_two(prompt, shown[a], shown[b]) for a, b in ((i, j), (j, i)))
        won = _duel(verdicts[forth], verdicts[back]) if known is None else known
        results[i].append(won)
        results[j].append(won if isinstance(won, Exception) else 1 - won)
    return [_mean(each) for each in results[:size]]


def _settle(one: str, other: str) -> float | None:
    """What the first wins without a judge: nothing to judge loses, equal texts tie. None: ask."""
    if is_refused(one):
        return 0.5 if is_refused(other) else 0.0
    if is_refused(other):
        return 1.0
    return 0.5 if is_same(one, other) else None


def _duel(forth: list[str] | Exception, back: list[str] | Exception) -> float | Exception:
    """1, 0.5 or 0 for the one that stands first in `forth`. A win counts only if it holds in both orders."""
    if isinstance(forth, Exception):
        return forth
    if isinstance(back, Exception):
        return back
    values = {"first": 1.0, "tie": 0.0, "second": -1.0}
    first, second = fmean(values[label] for label in forth), -fmean(values[label] for label in back)
    return 0.5 if first * second <= 0 else float(first > 0)


def _mean(each: Sequence[Score]) -> Score:
    """The share won; one comparison without a verdict leaves none, as the rest would not be comparable."""
    failed = [one for one in each if isinstance(one, Exception)]
    return failed[0] if failed else fmean(one for one in each if isinstance(one, float))
