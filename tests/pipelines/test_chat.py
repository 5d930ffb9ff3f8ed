"""Talking to a model of a run: the right model is found, turns are remembered, and a seed repeats the answers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from models.tiny import TINY_BASE
from pipelines.chat import converse, find_model, load, typed
from pipelines.cli import main
from pipelines.source import ConfigError

PIPELINE = """
name: mine
stages:
  base: {use: model}
  problems: {use: problems, with: {n: 4, dev: 1, holdout: 1, cold_start: 1, general: 1}}
"""


def test_the_model_is_named_by_run_and_stage_or_by_folder(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    with pytest.raises(SystemExit, match="0"):
        main(["run", str(tmp_path / "p.yaml"), "--workdir", str(tmp_path)])
    run = tmp_path / "mine"
    assert find_model(str(TINY_BASE), tmp_path) == TINY_BASE
    assert (find_model("mine/base", tmp_path) / "config.json").is_file()
    with pytest.raises(ConfigError, match=rf"which model\? \(r1 chat {run}/base; there are base\)"):
        find_model(str(run), tmp_path)
    with pytest.raises(ConfigError, match="stage problems has no model"):
        find_model(f"{run}/problems", tmp_path)


def test_one_question_is_answered_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chat", str(TINY_BASE), "Compute 47+38.", "--template", "plain", "--max-tokens", "40", "--seed", "1"]
    for _ in range(2):
        with pytest.raises(SystemExit, match="0"):
            main(words)
    first, second = capsys.readouterr().out.split("Answer: ")[:2]
    assert "40+30=70" in first and "85" in second


def test_a_conversation_remembers_its_turns_until_it_is_reset() -> None:
    said: list[str] = []
    talk = load(TINY_BASE, 0, max_tokens=8)
    converse(talk, iter(["Hello!", "", "Thank you."]), said.append)
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant"] * 2
    assert talk.turns[2]["content"] == "Thank you." and "".join(said).count("\n") >= 2
    converse(talk, iter(["/reset"]), said.append)
    assert talk.turns == []


def test_a_conversation_that_is_too_long_says_so() -> None:
    talk = load(TINY_BASE, 0, max_tokens=8)
    with pytest.raises(ConfigError, match=r"the conversation has \d+ tokens, the model holds 512: begin anew"):
        talk.ask("word " * 600, lambda text: None)


def test_too_long_a_question_ends_no_conversation() -> None:
    said: list[str] = []
    talk = load(TINY_BASE, 0, max_tokens=8)
    converse(talk, iter(["word " * 600, "/reset", "Hello!"]), said.append)
    assert "begin anew (/reset)" in "".join(said) and len(talk.turns) == 2


def test_a_folder_that_holds_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonesuch"}')
    with pytest.raises(ConfigError, match="no model that can be loaded"):
        load(tmp_path, 0)


def test_lines_come_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    assert list(typed()) == ["one", "two"]
