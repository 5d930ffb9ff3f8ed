"""`r1 rewards audit`: error rates on labelled cases."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.audit import accuracy, audit, read_cases, table
from rewards.registry import RewardError

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "rewards" / "math.md").read_text()
CASES = [
    {"gold": "1/2", "completion": "\\boxed{0.5}", "expected": True, "kind": "decimal", "group": "a"},
    {"gold": "1/2", "completion": "\\boxed{0.25}", "expected": True, "kind": "decimal", "group": "a"},
    {"gold": "7", "completion": "\\boxed{7}", "expected": "fail", "kind": "number", "group": "b"},
    {"gold": "", "completion": "\\boxed{7}", "expected": False, "kind": "number", "group": "b"},
    {"gold": "7", "completion": "\\boxed{8}", "expected": True, "kind": "number", "contested": True},
]
PLUGIN = '''
import os
from rewards import Sample, reward

@reward
def short(s: Sample) -> float | None:
    """1 for a short completion."""
    if s.completion == "die":
        os._exit(3)
    return None if not s.completion else float(len(s.completion) < 5)

@reward(group=True)
def pairs(samples: list[Sample]) -> list[float]:
    """Compares samples."""
    return [0.0 for _ in samples]
'''


def written(path: Path, cases: list[dict]) -> Path:
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return path


def test_math_verdicts_and_the_table(tmp_path):
    judged = audit("math", read_cases(written(tmp_path / "cases.jsonl", CASES)))
    assert [one.verdict for one in judged] == [True, False, True, None, False]
    assert [one.right for one in judged] == [True, False, False, False, False]
    assert accuracy(judged) == 0.25
    lines = table(judged)
    assert lines[0].startswith(
        "uncontested: 4 cases, 25.00% right; false negatives 1 of 2 (50.00%), false positives 1 of 2"
    )
    assert lines[1] == "contested: 1 cases, 0 agree with the label"
    text = "\n".join(lines)
    assert re.search(r"^decimal +2 +1 +1 +0 +0$", text, re.MULTILINE)
    assert re.search(r"^number +2 +0 +0 +1 +1$", text, re.MULTILINE)
    assert "FN decimal: gold '1/2'" in text and "FP number: gold '7'" in text and "no verdict number" in text
    assert "... and 2 more" in "\n".join(table(judged, failures=1))


def test_any_reward_and_a_dead_grader(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    cases = [{"completion": text, "expected": True} for text in ("ab", "abcdefgh", "", "die", "abc")]
    judged = audit("short", cases, [plugin])
    assert [one.verdict for one in judged] == [True, False, None, None, True]
    assert judged[3].error is not None and judged[2].error is None
    with pytest.raises(RewardError, match="compares samples"):
        audit("pairs", cases, [plugin])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"expected": true}\n{"expected": 3}', r"cases.jsonl:2: a case is an object whose `expected`"),
        ("{", r"cases.jsonl:1: not JSON"),
        ("\n", r"cases.jsonl: holds no case"),
    ],
)
def test_bad_files_are_one_line(tmp_path, content, message):
    (tmp_path / "cases.jsonl").write_text(content)
    with pytest.raises(RewardError, match=message):
        read_cases(tmp_path / "cases.jsonl")


def r1(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def test_a_missing_field_and_a_misspelt_reward(tmp_path):
    written(tmp_path / "cases.jsonl", [{"expected": True, "completion": "7"}])
    done = r1("rewards", "audit", "math", "--cases", "cases.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "case 1: needs `gold` (it has expected, completion)\n")
    done = r1("rewards", "audit", "maths", "--cases", "cases.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "did you mean 'math'" in done.stderr


def test_the_documented_audit(tmp_path):
    (cases,) = re.findall(r"^```json\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```console\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_cases.jsonl").write_text(cases)
    command, _, output = shown.partition("\n")
    done = r1(*command.split()[2:], "--min-accuracy", "0.97", cwd=tmp_path)
    assert re.sub(r"latency in ms.*\n\n", "", done.stdout) == output
    assert done.returncode == 1


def test_the_documented_calls():
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    code, names = code.partition("\n\n"), {}
    exec(code[0], names)
    lines = [line for line in code[2].splitlines() if line]
    assert len(lines) == 5
    for line in lines:
        call, _, said = line.partition("# ")
        value = re.match(r"'[^']*'|\[.*?\]|\w+", said)
        assert repr(eval(call, names)) == value[0]
