"""`r1 doctor --model`: the check really runs, sees what it is for, and its page covers every architecture."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from models.zoo import ARCHITECTURES, VOCABULARY, write_random
from pipelines import fidelity
from pipelines.cli import main
from pipelines.source import ConfigError
from rollout.canary import Canary
from rollout.fidelity import EXACT, ROUNDS, Round, compare, read_rounds, verdict

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fidelity.md"


@pytest.mark.parametrize("name", ["gpt_oss", "qwen3"])
def test_architectures_that_a_plain_reload_leaves_stale_agree(name: str) -> None:
    """gpt-oss: experts and sinks are copied past vLLM's reload. Qwen3: the output head is tied and packed."""
    row = fidelity.check(f"random:{name}", "float32", 120)
    assert row.failure == "" and row.judged == (True, "agrees") and len(row.rounds) == ROUNDS + 1
    assert all(measured.max <= EXACT and measured.tokens == 376 for measured in row.rounds)
    assert all(measured.before > 0.1 for measured in row.rounds[1:]), "an update that matters"


@pytest.mark.parametrize("dtype", fidelity.DTYPES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_page_has_a_row_for_every_architecture(name: str, dtype: str) -> None:
    line = re.search(rf"^\| {name} +\| {dtype} +\| (.*) \|$", PAGE.read_text(), re.M)
    assert line, "regenerate: r1 doctor --model random:all --write docs/fidelity.md"
    *gaps, unsynced, _, words = (cell.strip() for cell in line[1].split(" | "))
    assert words == "agrees" or words.startswith("does not run: ")
    if words == "agrees":
        assert len(gaps) == ROUNDS + 1 and float(unsynced) > 0.1
        assert dtype == "bfloat16" or all(float(gap.split(" / ")[1]) <= EXACT for gap in gaps)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_sync_that_does_nothing_disagrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: bool) -> None:
    from models.checkpoint import load_model
    from rollout.hf_engine import HfEngine

    write_random("llama", tmp_path)
    if dropped:
        monkeypatch.setattr(HfEngine, "sync", lambda self, model: None)
    rounds = list(compare(load_model(tmp_path), HfEngine(tmp_path), Canary(VOCABULARY)))
    expected = (False, "DISAGREES after sync 1") if dropped else (True, "agrees")
    assert verdict("float32", rounds) == expected


def test_verdict() -> None:
    def fp32(gap: float) -> Round:
        return Round(max=gap, mean=gap / 20, before=0.2, rounding=None, tokens=376)

    def bf16(mean: float) -> Round:
        return Round(max=0.2, mean=mean, before=0.2, rounding=0.004, tokens=376)

    assert verdict("float32", [fp32(1e-6)] * 6) == (True, "agrees")
    assert verdict("float32", [fp32(1e-6), fp32(5e-5)]) == (
        True,
        "agrees, above 1e-05 but within the canary's limits",
    )
    assert verdict("float32", [fp32(1e-6), fp32(1e-6), fp32(2e-3)]) == (False, "DISAGREES after sync 2")
    assert verdict("float32", [fp32(float("inf"))]) == (False, "DISAGREES on load")
    assert verdict("bfloat16", [bf16(0.005)] * 6) == (True, "agrees")
    assert verdict("bfloat16", [bf16(0.005), bf16(0.009)]) == (False, "DISAGREES after sync 1")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit(0)", ""),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("raise ValueError('heads of 7')", "ValueError: heads of 7"),
        (
            "import sys; print('[rank0]: vllm.Bad.SomeError: no', file=sys.stderr); sys.exit(3)",
            "vllm.Bad.SomeError: no",
        ),
        (
            "import pydantic as p\nclass M(p.BaseModel):\n  x: int\n  @p.field_validator('x')\n  def v(cls, x): "
            "raise ValueError('architecture unknown')\nM(x=1)",
            "Value error, architecture unknown",
        ),
        ("raise SystemExit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "not done within 1 s"),
    ],
)
def test_whatever_ends_the_process_is_one_line(tmp_path: Path, code: str, told: str) -> None:
    with (tmp_path / "log").open("wb") as log:
        ended = fidelity._run([sys.executable, "-c", code], log.fileno(), 1 if "sleep" in code else 60)
    assert ended == 0 if told == "" else fidelity._failure(ended, 1, (tmp_path / "log").read_text()) == told


def test_time_limit_leaves_no_process_behind(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = (
        "import subprocess as s, sys; p = s.Popen(['sleep', '60']); open(sys.argv[1], 'w').write(str(p.pid)); p.wait()"
    )
    with (tmp_path / "log").open("wb") as log:
        assert fidelity._run([sys.executable, "-c", code, str(file)], log.fileno(), 3) is None
    time.sleep(0.2)
    state = Path(f"/proc/{file.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_crash_keeps_the_rounds_before_it(tmp_path: Path) -> None:
    file = tmp_path / "rounds.jsonl"
    file.write_text('{"max": 1e-6, "mean": 1e-7, "before": 0.0, "rounding": null, "tokens": 376}\n{"max": 1e')
    row = fidelity.Row("x", "float32", read_rounds(file), "killed by SIGSEGV")
    assert row.judged == (False, "stopped after 0 syncs: killed by SIGSEGV")
    assert fidelity.cells(row)[2:4] == ["1.0e-07 / 1.0e-06", "-"]
    assert fidelity.Row("x", "float32", [], "a|b").judged == (False, "does not run: a|b")


def test_the_page_keeps_its_text(tmp_path: Path) -> None:
    row = fidelity.Row("llama", "float32", [Round(1e-6, 1e-7, 0.0, None, 376)])
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{fidelity.BEGIN}\nold\n{fidelity.END}\nafter\n")
    fidelity.check_page(page)
    fidelity.write_page(page, [row])
    text = page.read_text()
    assert text.startswith("# Before\n") and text.endswith("after\n") and "old" not in text and "| llama " in text
    fidelity.write_page(tmp_path / "new.md", [row])
    fidelity.check_page(tmp_path / "new.md")


def test_mistakes_are_told_before_any_work(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "plain.md").write_text("text\n")
    for words, told in {
        ("--model", "random:qwen3_mo"): "no such architecture (did you mean qwen3_moe?)",
        ("--model", str(tmp_path)): "no model folder",
        ("--write", "x.md"): "--write needs --model",
        ("--model", "random:all", "--limit", "0"): "above 0",
        ("--model", "random:all", "--write", str(tmp_path / "plain.md")): "to put the table between",
        ("--model", "random:all", "--write", str(tmp_path / "no" / "page.md")): "no folder",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *words])
        assert ended.value.code == 2 and told in capsys.readouterr().err
    assert fidelity.targets(["random:all", "random:llama"]) == [f"random:{name}" for name in ARCHITECTURES]
    with pytest.raises(ConfigError):
        fidelity.targets(["random:"])


@pytest.mark.xdist_group("vllm")
def test_the_rotary_defect_is_still_there(capsys: pytest.CaptureFixture[str]) -> None:
    """When this fails, vLLM has mended it and `custom_ops: none` can go."""
    import runpy

    import torch

    with torch.random.fork_rng():
        runpy.run_path(str(ROOT / "docs" / "upstream" / "rope_3d.py"))
    errors = {
        line[:22].strip(): float(line.split()[-3])
        for line in capsys.readouterr().out.splitlines()
        if "is_neox=False" in line
    }
    assert errors["[tokens, heads * size]"] < 1e-5 < 1 < errors["[tokens, heads, size]"]
