"""The page on data shows rows that the stages take, and what they make of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from pipelines import config
from pipelines.problems.sources import read_source
from sft.data import IGNORE, encode

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/data.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def r1(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from pipelines.cli import main; main()"
    words = [sys.executable, "-c", code, *command.split()[2:]]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_the_rows_are_read_and_rendered_as_the_page_says(tmp_path: Path) -> None:
    from models.chat import render_prompt
    from models.checkpoint import load_tokenizer
    from models.tiny import TINY_BASE

    problems, samples = blocks("json")
    (tmp_path / "chats.jsonl").write_text(problems)
    single, chat = read_source(str(tmp_path / "chats.jsonl"), columns={}, size=1, seed=0)
    assert (single["prompt"], single["system"]) == ("Compute 12+30.", "Be brief.")
    tokenizer = load_tokenizer(TINY_BASE)
    prompt, pair = blocks("text")
    assert tokenizer.decode(render_prompt(tokenizer, chat)) == prompt.strip()
    data = encode(tokenizer, [json.loads(samples.splitlines()[1])], max_length=200)
    made = []
    for ids, labels in zip(data.input_ids, data.labels, strict=True):
        learnt = tokenizer.decode([label for label in labels if label != IGNORE])
        made.append(f"{tokenizer.decode(ids).removesuffix(learnt)} [{learnt}]")
    assert made == pair.splitlines()


def test_the_stage_shown_is_valid(tmp_path: Path) -> None:
    [shown] = (block for block in blocks("yaml") if "chats.jsonl" in block)
    row = {"conversation": [{"role": "user", "content": "Compute 12+30."}], "gold": "42"}
    (tmp_path / "chats.jsonl").write_text(json.dumps(row))
    (tmp_path / "p.yaml").write_text(f"stages:\n{shown}")
    [node] = config.load(tmp_path / "p.yaml").nodes
    assert node.config.columns == yaml.safe_load(shown)["problems"]["with"]["columns"]  # type: ignore[attr-defined]


def test_a_solved_conversation_as_a_problem_is_what_the_page_prints(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Compute 12+30."}, {"role": "assistant", "content": "42"}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": turns, "answer": "42"}))
    [shown] = (block for block in blocks("console") if "chats.jsonl" in block)
    command, *told = shown.splitlines()
    done = r1(command, tmp_path)
    assert done.returncode == 2 and not done.stdout  # nothing has run
    assert done.stderr.replace(str(tmp_path), "...").splitlines() == told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.jsonl"]


def test_the_pipeline_on_own_problems_prints_what_the_page_shows(tmp_path: Path) -> None:
    [program] = blocks("python")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    [pipeline] = (block for block in blocks("yaml") if "sums.jsonl" in block)
    (tmp_path / "sums.yaml").write_text(pipeline)
    [shown] = (block for block in blocks("console") if "sums.yaml" in block)
    command, *told = shown.splitlines()
    done = r1(command, tmp_path)
    assert done.returncode == 0, done.stderr

    def plain(lines: list[str]) -> list[str]:
        """Without times, the model's numbers and the widths of columns; what was made of the file stays as it is."""
        text = "\n".join(re.sub(r" +", " ", line).strip() for line in lines if not re.match(r"  base +\d+/|\s*─", line))
        text = re.sub(r"[\d.]+ (min [\d.]+ )?s$", "T", text, flags=re.MULTILINE)
        text = re.sub(r"done in [\d.]+ (min [\d.]+ )?s", "done in T", text)
        text = re.sub(r"base=.*", "base=N", text)
        return [re.sub(r"[\d.]+", "N", one) if "±" in one else one for one in text.split("\n") if one]

    assert plain(done.stdout.splitlines())[: len(plain(told))] == plain(told)
