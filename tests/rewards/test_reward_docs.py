"""docs/writing-a-reward.md and examples/my_rewards.py: the code runs and the shown output is the real one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.check import check_rewards
from rewards.scorer import Scorer
from rollout.types import Sample

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "writing-a-reward.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


@pytest.fixture
def written(tmp_path):
    first, group = blocks("python")
    (tmp_path / "my_rewards.py").write_text(first)
    (tmp_path / "group.py").write_text("from rewards import Sample, reward\n" + group)
    upside_down = first.replace("target / max(s.n_tokens, 1)", "s.n_tokens / target")
    assert upside_down != first
    (tmp_path / "upside_down.py").write_text(upside_down)
    return tmp_path


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.partition("\n")[0][2:40])
def test_shown_commands_print_what_is_shown(written, block):
    command, _, shown = block.partition("\n")
    assert command.startswith("$ r1 ")
    run = [sys.executable, "-c", "from pipelines.cli import main; main()", *command.split()[2:]]
    done = subprocess.run(run, cwd=written, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout == shown, done.stderr
    assert done.returncode == (1 if "FAIL" in shown else 0)


def test_documented_rewards_pass_their_cases_and_grade(written):
    plugins = [written / "my_rewards.py", written / "group.py"]
    assert all(result.ok for result in check_rewards(["brevity", "novelty"], plugins))
    with Scorer({"brevity": {"weight": 0.5, "target": 50}, "novelty": 1.0}, plugins, workers=1) as score:
        scored = score([[Sample("q", "a", n_tokens=100), Sample("q", "b", n_tokens=10), Sample("q", "b", n_tokens=10)]])
    assert scored.total_P_G == [[1.25, 1.0, 1.0]]


def test_the_example_passes_its_cases():
    results = check_rewards(["brevity", "novelty"], [ROOT / "examples" / "my_rewards.py"])
    assert [result.problems for result in results] == [[], []]


def test_a_reward_fits_in_ten_lines():
    function = blocks("python")[0].partition("def brevity")[2]
    assert function.count("\n") <= 10


def test_import_is_cheap_and_light():
    heavy = ("torch", "sympy", "numpy", "mpmath", "pydantic")
    code = f"import sys, rewards; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
