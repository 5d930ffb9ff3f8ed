"""docs/rewards/code.md: its code runs, its output and rules are the real ones, its tests exist."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipelines import doctor
from rewards.audit import audit, read_cases
from rewards.code import Limits, sandbox_level
from rewards.code.codec import decode, encode
from rewards.code.compare import same_output, same_result
from rewards.code.types import LEVELS

HERE = Path(__file__).parent
DOC = (HERE.parents[1] / "docs" / "rewards" / "code.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def section(title):
    return DOC.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_example_prints_what_is_shown():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(blocks("python")[0], {})
    assert out.getvalue() == blocks("text")[0]


@pytest.mark.parametrize("column, right", [(1, True), (2, False)])
def test_the_rules_of_comparison(column, right):
    text = section("When is an answer right?")
    output_rules, call_rules = text.split("Results of calls:")
    found = re.findall(r"^\|.*\|$", output_rules, re.MULTILINE)
    checked = 0
    for row in found:
        cells = row.split("|")[1:-1]
        for answer, expected, tolerance in example(cells, column):
            assert same_output(eval(expected), eval(answer), float(tolerance or 0)) is right, row
            checked += 1
    for row in re.findall(r"^\|.*\|$", call_rules, re.MULTILINE):
        cells = row.split("|")[1:-1]
        for answer, expected, _ in example(cells, column):
            value = decode(encode(eval(answer, {"Counter": Counter}), 1000))
            assert same_result(eval(expected), value) is right, row
            checked += 1
    assert checked >= 7


def example(cells, column):
    return re.findall(r"`([^`]+)` for `([^`]+)`(?: at ([\d.]+))?", cells[column]) if len(cells) > column else []


def test_the_tests_that_the_threat_table_names_exist():
    source = "".join(path.read_text() for path in HERE.glob("test_code*.py"))
    named = set(re.findall(r"`(test_\w+)`", section("Threats")))
    assert len(named) >= 10 and not [name for name in named if f"def {name}(" not in source]


def test_the_limits_and_levels_are_the_real_ones():
    limits = Limits()
    assert (limits.cpu_s, limits.total_cpu_s, limits.idle_s, limits.wall_s) == (4, 20, 4, 60)
    assert (limits.memory_bytes, limits.output_bytes) == (1 << 30, 8 << 20)
    assert "4 s for each test and 20 s for all" in " ".join(DOC.split())
    assert set(re.findall(r"^\| `(\w+)` \| ", section("Levels"), re.MULTILINE)) == set(LEVELS)


def test_doctor_says_what_is_shown():
    shown = [line[18:] for line in blocks("console")[1].splitlines()[1:]]
    real = [found for _, _, found in doctor._sandbox()]
    if sandbox_level()["name"] != "namespaces":
        pytest.skip("shown for the level namespaces")
    assert shown[:2] == real[:2]
    assert set(re.findall(r"[a-zA-Z_ ]{4,}", real[2])) <= set(re.findall(r"[a-zA-Z_ ]{4,}", shown[2]))


def test_audit_of_labelled_submissions(tmp_path):
    double = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
    env = {"type": "stdin", "cases": [{"input": "", "output": "hunter2\n"}]}
    left = tmp_path / "left"
    left.write_text("")
    cases = [
        {"code": "def f(x): return 2 * x", "tests": double, "expected": True},
        {"solution": "def f(x): return x", "tests": double, "expected": "fail", "task": "T/1", "note": "mutant"},
        {"code": "import os\nprint(os.environ['R1_DOC'])", "tests": env, "expected": "fail", "name": "environment",
         "setup_env": {"R1_DOC": "hunter2"}},
        {"code": "print(1)", "tests": env, "expected": "fail", "forbid_file": str(left)},
        {"code": "def f(x): return x", "tests": double, "expected": True, "kind": "wrong label"},
    ]  # fmt: skip
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    judged = audit("code", read_cases(tmp_path / "cases.jsonl"))
    assert [one.verdict for one in judged] == [True, False, False, None, False]
    assert [one.kind for one in judged] == ["call", "call", "stdin", "stdin", "wrong label"]
    assert judged[1].shown == "T/1 mutant" and "the submission wrote" in judged[3].error
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", *blocks("console")[0].split()[2:]]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(HERE.parents[1])}
    )
    assert done.returncode == 0 and done.stdout.startswith("uncontested: 5 cases, 60.00% right"), done
