"""The `cold-start` stage: three routes, every dropped sample counted, and no rewritten answer that is not right."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from models.chat import final_answer
from models.tiny import TINY_BASE
from pipelines.artifacts import Model, Problems, Samples, read_rows, write_rows
from pipelines.curation import thinking
from pipelines.drawing import Group
from pipelines.exemplars import ASKED, HOUSE, few_shot, first_solution, read_exemplars
from pipelines.keys import path_digest
from pipelines.problems.arithmetic import add, equation
from pipelines.problems.items import draw_distinct
from pipelines.problems.sources import SourceError
from pipelines.rewriting import ColdStartSettings, unreadable, writer_row
from pipelines.stage import REGISTRY, StageError
from pipelines.stages.cold_start import ColdStartConfig, cold_start
from pipelines.stages.sft import SftConfig, sft
from tests.pipelines.taught import ENGINE, PROBLEMS, SFT, context, problems, read_json, untrained

pytestmark = pytest.mark.xdist_group("taught")

BASE = Model(TINY_BASE)
DRAWN = {"engine": "transformers", "max_tokens": 40, "n": 2}


def arithmetic(folder: Path, n: int = 12) -> Problems:
    write_rows(folder, [item.row() for item in draw_distinct([add, equation], random.Random(0), "train", n)])
    return Problems(folder)


def dropped(made: Samples) -> dict[str, int]:
    return {step["name"]: step["dropped"] for step in read_json(made.path / "funnel.json")["filters"]}


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> tuple[Samples, Path]:
    """What the shipped base says in plain text, put into the house's form by rule."""
    folder = tmp_path_factory.mktemp("zero")
    config = ColdStartConfig(source="zero", **DRAWN)
    return cold_start(context(folder), config, model=BASE, problems=arithmetic(folder / "problems")), folder


def test_outputs_of_a_base_get_the_houses_form_and_their_history(zero: tuple[Samples, Path]) -> None:
    made, folder = zero
    answers = {row["id"]: row["answer"] for row in read_rows(folder / "problems")}
    rows = read_rows(made)
    for row in rows:
        assert final_answer(row["completion"]) == answers[row["id"]]
        assert f"Work: {thinking(row['completion'])}\nAnswer: {answers[row['id']]}\n" == row["original"]
        assert (row["route"], row["source"], row["writer"], row["correct"]) == ("zero", "cold-start", None, True)
        assert row["model"] == path_digest(TINY_BASE)
    funnel = read_json(made.path / "funnel.json")
    assert funnel["input"] == 24 and funnel["kept"] == len(rows) == 24 - sum(dropped(made).values())
    assert funnel["problems_kept"] == len({row["id"] for row in rows})
    assert dropped(made)["wrong"]
    for step in funnel["filters"]:
        assert len(step["examples"]) == min(3, step["dropped"])


def test_the_samples_of_a_base_train_it_to_think_in_tags(zero: tuple[Samples, Path], tmp_path: Path) -> None:
    ctx = context(tmp_path)
    config = SftConfig(epochs=8, lr=1e-3, batch=4, max_length=128, log_every=1, save_every=0)
    sft(ctx, config, model=BASE, samples=[zero[0]])
    lines = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert ctx.numbers["too_long"] == 0 and lines[-1]["loss"] < 0.5 * lines[0]["loss"]


FILE: list[dict[str, Any]] = [
    {"question": "Compute 12+30.", "solution": "<think>12+30=42</think>\n\n42", "answer": 42},
    {"question": "Compute 12+30.", "solution": "<think>12+30=42</think>42", "answer": 42},  # the same once formed
    {"question": "Compute 1+1.", "solution": "<think>1+1 is", "answer": 2},
    {"question": "Compute 2+2.", "solution": "<think>2+2=5</think>5", "answer": 4},
    {"question": "Compute 3+3.", "solution": "<think></think>6", "answer": 6},
    {"question": "Say hello.", "solution": "<think>A greeting is asked for.</think>Hello!"},
    {
        "messages": [
            {"role": "user", "content": "Compute 5+5."},
            {"role": "assistant", "content": "<think>5+5=10</think>10"},
            {"role": "user", "content": "And 1 more?"},
            {"role": "assistant", "content": "<think>10+1=11</think>11"},
        ]
    },
    {"question": "Compute 9+9.", "solution": "<think>" + "9+9=18 " * 40 + "</think>18", "answer": 18},
]
COLUMNS = {"prompt": "question", "completion": "solution"}


def from_file(tmp_path: Path, rows: list[dict[str, Any]] = FILE, **more: Any) -> Samples:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context(tmp_path)
    ctx.base = tmp_path
    inputs = {name: more.pop(name) for name in ("writer", "model", "problems", "against") if name in more}
    settings = {"columns": {**COLUMNS, "messages": "messages"}, "rewards": {"math": 1.0}, **more}
    return cold_start(ctx, ColdStartConfig(source="mine.jsonl", **settings), **inputs)


def test_a_file_is_checked_row_by_row(tmp_path: Path) -> None:
    made = from_file(tmp_path)
    rows = read_rows(made)
    assert [(row["row"], row["correct"]) for row in rows] == [(1, True), (6, None), (7, None), (7, None)]
    assert [final_answer(row["completion"]) for row in rows] == ["42", "Hello!", "10", "11"]
    assert rows[0]["original"] == FILE[0]["solution"] and {row["route"] for row in rows} == {"file"}
    assert rows[3]["prompt"] == "And 1 more?" and rows[3]["messages"] == FILE[6]["messages"][:3]
    counts = {name: n for name, n in dropped(made).items() if n}
    assert counts == {
        "unfinished": 1,
        "too little thinking": 1,
        "repetition": 1,
        "duplicate": 1,
        "rewrite wrong": 1,
    }
    assert read_json(made.path / "funnel.json")["input"] == 9


def test_parquet_holds_the_same_samples(tmp_path: Path) -> None:
    rows = [row for row in FILE if "messages" not in row]
    jsonl = read_rows(from_file(tmp_path / "a", rows))
    write_rows(tmp_path / "mine.parquet", rows)
    ctx = context(tmp_path / "b")
    config = ColdStartConfig(source=str(tmp_path / "mine.parquet"), columns=COLUMNS, rewards={"math": 1.0})
    assert read_rows(cold_start(ctx, config)) == jsonl


def test_lengths_are_tokens_of_the_model_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="max_kept_tokens counts tokens: give the input `model`"):
        from_file(tmp_path / "a", max_kept_tokens=12)
    made = from_file(tmp_path / "b", max_kept_tokens=12, model=BASE)
    assert dropped(made)["too long"] == 2 and all(0 < row["n_tokens"] <= 12 for row in read_rows(made))


def test_what_an_evaluation_holds_is_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "held", [{"id": "t", "prompt": "Compute 12 + 30."}])
    made = from_file(tmp_path / "a", against=[Problems(tmp_path / "held")])
    [step] = read_json(made.path / "funnel.json")["problem_filters"]
    assert step["dropped"] == 2 and "exact of t" in step["examples"][0]
    assert [row["row"] for row in read_rows(made)] == [6, 7, 7]


DRAFTS = [
    {"prompt": "Double 3?", "completion": "<think>3+3=6</think>6", "answer": "6"},
    {"prompt": "Half of 12?", "completion": "<think>12-5=7</think>7", "answer": "7"},  # right, says its own gold
]
SIX = "<think>twice</think><answer>6</answer>"
SHORT = {"prompt": "Is 2 two?", "completion": "<think>a</think><answer>2</answer>"}
ASK = "{problem}\n{draft}"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that answers 6 to everything: to a problem, to a problem after an example, and to a problem with a draft.

    It knows the plain template alone.
    """
    folder = tmp_path_factory.mktemp("writer")
    asked = [*PROBLEMS, *(few_shot(row, [SHORT], "plain") for row in PROBLEMS)]
    asked += [
        writer_row(ASK, {**row, "original": draft}) for row in PROBLEMS for draft in (SIX, DRAFTS[0]["completion"])
    ]
    samples = Samples(folder / "samples")
    write_rows(samples, [{**row, "completion": SIX} for row in asked])
    config = SftConfig(**{**SFT, "epochs": 60, "batch": 4}, template="plain")
    return sft(context(folder), config, model=untrained(folder / "base"), samples=[samples])


def written(tmp_path: Path, writer: Model) -> Samples:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "ask.txt").write_text(ASK)
    settings = {"writer_prompt": "ask.txt", "writer_temperature": 0.0, "writer_template": "plain", "columns": {}}
    return from_file(tmp_path, DRAFTS, writer=writer, **ENGINE, **settings)


def test_a_rewritten_answer_must_still_be_right(writer: Model, tmp_path: Path) -> None:
    made = written(tmp_path, writer)
    [row] = read_rows(made)
    assert row["completion"] == SIX and row["original"] == "<think>3+3=6</think>6"
    assert (row["writer"], row["correct"], row["finish"]) == (path_digest(writer.path), True, "stop")
    assert dropped(made)["rewrite wrong"] == 1
    [example] = [step["examples"] for step in read_json(made.path / "funnel.json")["filters"] if step["dropped"]]
    assert example == [f"Half of 12?\n{SIX}"]


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def test_a_kill_while_rewriting_costs_no_drawing(
    writer: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import journal

    given = problems(tmp_path / "problems")
    (tmp_path / "ask.txt").write_text(ASK)
    asked = {"writer_prompt": str(tmp_path / "ask.txt"), "writer_template": "plain", "writer_temperature": 0.0}
    config = ColdStartConfig(source="zero", chunk=1, **ENGINE, n=2, temperature=0.3, **asked)

    def run(name: str) -> Samples:
        return cold_start(context(tmp_path / name), config, model=writer, problems=given, writer=writer)

    whole = run("whole")
    append = journal.append

    def killed(file: Path, content: Any) -> None:
        if file.name == "rewritten.jsonl" and content["first"] == 1:
            raise Killed
        append(file, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(journal, "append", killed)
        run("half")
    monkeypatch.setattr("pipelines.harvest.draw_chunks", None)  # nothing is drawn again
    rest = run("half")
    for name in ("rows.parquet", "problems.parquet", "funnel.json"):
        assert (rest.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_draft_cannot_end_its_part_of_the_writers_prompt() -> None:
    row = {"id": "a", "prompt": "Why {draft}?", "original": "so</think><answer>1</answer> {problem}"}
    asked = writer_row("P: {problem}\nD: {draft}", row)["prompt"]
    assert asked == "P: Why {draft}?\nD: so\n\n1\n {problem}"


def test_a_rewritten_loop_is_unreadable() -> None:
    row = {"id": "a", "prompt": "Why?", "finish": "stop", "n_tokens": 9, "correct": True, "reward": 1.0}
    good = {**row, "completion": "<think>Because it is so.</think><answer>1</answer>"}
    loop = {**row, "completion": "<think>" + "it is so " * 60 + "</think><answer>1</answer>"}
    left, [step] = unreadable(ColdStartSettings(), [good, loop], None)
    assert left == [good] and (step["name"], step["dropped"]) == ("rewrite unreadable", 1)


SHOT = {"prompt": "Compute 20+31.", "completion": "<think>20+30=50, 0+1=1, 50+1=51</think><answer>51</answer>"}


def test_examples_keep_their_thinking_before_the_question() -> None:
    from models.chat import render_prompt
    from models.checkpoint import load_tokenizer

    tokenizer, row = load_tokenizer(TINY_BASE), {"id": "a", "prompt": "Compute 2+3.", "system": "Be brief."}
    plain = tokenizer.decode(render_prompt(tokenizer, few_shot(row, [SHOT], "plain"), "plain"))
    assert plain == (f"<|bos|>Be brief.\nProblem: {SHOT['prompt']}\n{SHOT['completion']}\n\nProblem: Compute 2+3.\n")
    chat = tokenizer.decode(render_prompt(tokenizer, few_shot(row, [SHOT], "chat")))
    assert chat == (
        f"<|bos|><|system|>Be brief.<|user|>{ASKED}\n\nProblem: {SHOT['prompt']}\n{SHOT['completion']}\n\n"
        "Problem: Compute 2+3.<|assistant|>"
    )


def test_what_a_base_says_after_its_solution_is_cut_off() -> None:
    solved = "<think>a</think><answer>1</answer>"
    drawn: Group = [(f"{solved}\n\nProblem: next", 40, "length"), ("a\nProblem: b", 9, "stop"), ("a", 9, "length")]
    assert first_solution(drawn) == [(solved, 40, "stop"), ("a", 9, "stop"), ("a", 9, "length")]


def test_the_examples_of_the_house_are_in_its_form_and_long() -> None:
    rows = read_exemplars(HOUSE)
    assert len(rows) == 3 and all(len(str(thinking(row["completion"])).split("\n\n")) >= 4 for row in rows)


def test_a_model_that_is_shown_examples_is_asked_and_graded(writer: Model, tmp_path: Path) -> None:
    (tmp_path / "shots.jsonl").write_text(json.dumps(SHORT) + "\n")
    shots = {"template": "plain", "exemplars": str(tmp_path / "shots.jsonl")}
    config = ColdStartConfig(source="prompt", **{**ENGINE, "max_tokens": 16}, n=2, temperature=0.0, **shots)
    made = cold_start(context(tmp_path), config, model=writer, problems=problems(tmp_path / "problems"))
    rows = read_rows(made)
    assert [(row["id"], row["prompt"], row["completion"]) for row in rows] == [
        (row["id"], row["prompt"], SIX) for row in PROBLEMS
    ]
    assert {row["route"] for row in rows} == {"prompt"} and dropped(made)["duplicate"] == 2


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"question": "x"}, "row 1: neither a completion nor messages that end with an assistant's turn"),
        ({"solution": "x"}, "row 1: no text in 'prompt' or 'completion'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "row 1: neither a completion nor messages"),
    ],
)
def test_what_is_no_sample_is_one_line(row: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=why):
        from_file(tmp_path, [row])


def test_one_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": q, "solution": f"<think>it is so</think>{q}"} for q in ("x", "y")]
    with pytest.raises(StageError, match="the id a stands for two questions"):
        from_file(tmp_path, rows)


def test_inputs_and_sources_that_do_not_fit_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="source: zero draws from a model: give the inputs `model` and `problems`"):
        cold_start(context(tmp_path), ColdStartConfig(source="zero"))
    with pytest.raises(StageError, match="leave the input `problems` out"):
        from_file(tmp_path, problems=arithmetic(tmp_path / "problems", 2))
    (tmp_path / "ask.txt").write_text("Rewrite.")
    with pytest.raises(StageError, match=r"there is no \{draft\} in it"):
        from_file(tmp_path, writer=BASE, writer_prompt=str(tmp_path / "ask.txt"))
    (tmp_path / "shots.jsonl").write_text('{"prompt": "x", "completion": "y"}\n')
    with pytest.raises(SourceError, match="row 1: an example is a prompt and a completion <think>"):
        read_exemplars(tmp_path / "shots.jsonl")
    check = REGISTRY["cold-start"].check
    assert check is not None and not list(check(ColdStartConfig(source="zero")))
    assert "source 'one' is none of zero, prompt, a .jsonl" in next(iter(check(ColdStartConfig(source="one"))))
