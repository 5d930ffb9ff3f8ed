"""Generated and outside problems: right answers, clean splits, the same rows for the same seed."""

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines.artifacts import read_rows
from pipelines.context import Context
from pipelines.problems import sources
from pipelines.problems.arithmetic import MATH, add, chain, equation
from pipelines.problems.corpus import corpus
from pipelines.problems.families import GENERATED
from pipelines.problems.functions import CODE
from pipelines.problems.items import draw_distinct, split_of
from pipelines.problems.sources import SourceError, check_source, read_source
from pipelines.stage import StageError
from pipelines.stages.problems import ProblemsConfig, problems


def make(tmp_path: Path, seed: int = 0, **config):
    out = tmp_path / f"out{seed}-{random.random()}"
    (out / "scratch").mkdir(parents=True)
    return problems(Context(out=out, seed=seed, scratch=out / "scratch", base=tmp_path), ProblemsConfig(**config))


SMALL = {"n": 200, "dev": 20, "holdout": 40, "cold_start": 30, "general": 10}


@pytest.mark.parametrize("generator", [add, chain])
def test_arithmetic_answers_are_right(generator):
    rng = random.Random(0)
    for _ in range(300):
        item = generator(rng)
        assert eval(item.prompt.removeprefix("Compute ").removesuffix(".")) == int(item.answer)


def test_equations_hold_for_their_answer():
    rng = random.Random(0)
    for _ in range(300):
        item = equation(rng)
        left, right = item.prompt.removeprefix("Solve ").removesuffix(" for x.").replace("x", "*x").split("=")
        assert eval(left, {"x": int(item.answer)}) == int(right)


@pytest.mark.parametrize("generator", MATH)
def test_every_step_of_the_work_is_true(generator):
    rng = random.Random(1)
    for _ in range(200):
        for step in generator(rng).work.split(", "):
            left, right = step.rsplit("=", 1)
            assert eval(left) == int(right)


def test_fractions_are_right():
    rng = random.Random(2)
    for _ in range(300):
        item = MATH[-1](rng)
        task = item.prompt.removeprefix("Compute ").removesuffix(".")
        sign = "+" if "+" in task else "-"
        left, right = (Fraction(part) for part in task.split(sign))
        assert Fraction(item.answer) == (left + right if sign == "+" else left - right)


@pytest.mark.parametrize("generator", CODE)
def test_the_reference_code_passes_its_hidden_calls_and_guesses_mostly_fail(generator):
    rng = random.Random(3)

    def passes(code: str, tests: dict) -> bool:
        scope: dict = {}
        exec(code, scope)
        return all(scope["f"](*args) == out for args, out in zip(tests["inputs"], tests["outputs"], strict=True))

    items = [generator(rng) for _ in range(200)]
    assert all(passes(item.answer, item.tests) for item in items)
    assert sum(passes(item.guess, item.tests) for item in items) < 60


def test_splits_are_disjoint_whatever_the_seed(tmp_path):
    seen: dict[str, set[str]] = {"train": set(), "holdout": set(), "dev": set()}
    for seed in range(3):
        sets = make(tmp_path, seed, **SMALL)
        for name, prompts in seen.items():
            prompts.update(row["prompt"] for row in read_rows(getattr(sets, name)))
        seen["train"].update(row["prompt"] for row in read_rows(sets.cold_start))
    assert not seen["train"] & seen["holdout"] and not seen["train"] & seen["dev"]


def test_the_base_never_reads_a_held_out_problem():
    documents = corpus(0)
    held = [item.prompt for items in (MATH, CODE) for item in draw_distinct(items, random.Random(0), "test", 400)]
    text = "".join(statement for statement, _ in (next(documents) for _ in range(20_000)))
    assert not [prompt for prompt in held if prompt in text]


def test_same_seed_same_rows_and_another_seed_other_rows(tmp_path):
    one, again, other = make(tmp_path, 1, **SMALL), make(tmp_path, 1, **SMALL), make(tmp_path, 2, **SMALL)
    assert read_rows(one.train) == read_rows(again.train)
    assert read_rows(one.train) != read_rows(other.train)


def test_families_share_the_split_equally_and_cold_start_mixes_both_manners(tmp_path):
    sets = make(tmp_path, 0, **SMALL | {"cold_start": 60})
    families = [row["family"] for row in read_rows(sets.holdout)]
    assert families.count("math") == families.count("code") == 20
    direct = [row["completion"].startswith("<think></think>") for row in read_rows(sets.cold_start)]
    assert 15 <= sum(direct) <= 45


def test_too_many_problems_asked_for_says_so():
    with pytest.raises(ValueError, match="ask for fewer"):
        draw_distinct([CODE[0]], random.Random(0), "test", 100_000)


def test_no_problems_asked_for_are_none():
    assert draw_distinct([CODE[0]], random.Random(0), "dev", 0) == []


def test_jsonl_with_other_column_names(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i}+1?", "gold": i + 1, "level": 2}) + "\n" for i in range(300)))
    sets = make(
        tmp_path, n=50, holdout=10, dev=5, source="mine.jsonl", columns={"prompt": "question", "answer": "gold"}
    )
    rows = read_rows(sets.train)
    assert len(rows) == 50 and rows[0]["level"] == 2 and rows[0]["family"] == "math"
    assert all(split_of(row["prompt"]) == "test" for row in read_rows(sets.holdout))


def test_a_row_without_prompt_names_its_place(tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "1+1?", "answer": 2}\n{"answer": 3}\n')
    with pytest.raises(SourceError, match=r"bad.jsonl, row 2: no text in column 'prompt'"):
        list(read_source(str(file), columns={}, size=1, seed=0))


def test_ungradable_rows_are_refused(tmp_path):
    file = tmp_path / "open.jsonl"
    file.write_text('{"prompt": "Why?"}\n')
    with pytest.raises(StageError, match="nothing can grade it"):
        make(tmp_path, source="open.jsonl")


def test_parquet_and_datasets_give_the_same_rows(tmp_path):
    from pipelines.artifacts import write_rows

    rows = [{"prompt": f"{i}+2?", "answer": str(i + 2)} for i in range(5)]
    (tmp_path / "d").mkdir()
    file = write_rows(tmp_path / "d" / "train.parquet", rows)
    parquet = list(read_source(str(file), columns={}, size=5, seed=0))
    dataset = list(read_source(f"datasets:{tmp_path / 'd'}", columns={}, size=5, seed=0))
    assert [r["prompt"] for r in parquet] == [r["prompt"] for r in dataset] == [r["prompt"] for r in rows]


def test_a_dataset_with_several_configs_is_read_by_config_and_split(tmp_path):
    (tmp_path / "d").mkdir()
    parts = [("easy", "train", 2), ("hard", "train", 30), ("hard", "test", 40)]
    for config, split, n in parts:
        (tmp_path / "d" / f"{config}-{split}.jsonl").write_text(json.dumps({"prompt": f"{n}+1?", "answer": str(n + 1)}))
    card = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - {{split: {s}, path: {c}-{s}.jsonl}}\n" for c, s, _ in parts if c == config)
        for config in ("easy", "hard")
    )
    (tmp_path / "d" / "README.md").write_text(f"---\nconfigs:\n{card}---\n")

    def answers(named):
        return [row["answer"] for row in read_source(f"datasets:{tmp_path / 'd'}{named}", columns={}, size=5, seed=0)]

    assert answers("/easy") == ["3"] and answers("/hard") == ["31"] and answers("/hard:test") == ["41"]
    with pytest.raises(SourceError, match="easy"):
        answers("/medium")


@pytest.mark.parametrize(
    ("path", "pair"),
    [
        ("openai/gsm8k/main", ("openai/gsm8k", "main")),
        ("zwhe99/DeepMath-103K", ("zwhe99/DeepMath-103K", None)),
        ("./no/such", ("./no/such", None)),
    ],
)
def test_names_on_the_hub_may_have_a_config(path, pair):
    assert sources._name_and_config(path) == pair


def test_reasoning_gym_rows():
    rows = list(read_source("reasoning-gym:chain_sum,basic_arithmetic", columns={}, size=6, seed=0))
    assert [row["kind"] for row in rows].count("chain_sum") == 3 and rows[0]["answer"]


def test_gym_puzzles_without_an_answer_are_left_out():
    asked = 300
    rows = list(read_source("reasoning-gym:ab", columns={}, size=asked, seed=0))
    assert asked // 2 < len(rows) < asked and all(row["answer"].strip() for row in rows)


def test_a_family_can_be_had_by_some_of_its_kinds(tmp_path):
    sets = make(tmp_path, n=40, holdout=10, dev=0, cold_start=10, source="arithmetic:chain+german:add")
    kinds = {(row["family"], row["kind"]) for row in read_rows(sets.train.path)}
    assert kinds == {("math", "chain"), ("math", "add")}
    assert any("Berechne" in row["prompt"] for row in read_rows(sets.train.path) if row["kind"] == "add")
    assert check_source("arithmetic:chain,sums") == (
        "source 'arithmetic:chain,sums': 'sums' is none of arithmetic's kinds: add, chain, equation, fraction"
    )


def test_every_generator_goes_by_its_kind():
    for family in GENERATED.values():
        for generator in family:
            assert generator(random.Random(0)).kind == generator.__name__


def test_unknown_source_is_named():
    assert "'aritmetic' is none of arithmetic, python" in (check_source("aritmetic+python") or "")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"prompt": "a", "answer": "1", "gold": "7"}', "columns: no row of .* has gould; there are"),
        ("b.jsonl", '{"prompt": "\u00e9", "gould": "1"}'.encode("latin-1"), "it is not UTF-8 text"),
        ("c.parquet", b"", "no Parquet file that can be read"),
    ],
)
def test_a_source_that_cannot_be_read_as_asked_is_one_line(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=told):
        list(read_source(str(tmp_path / name), columns={"answer": "gould"}, size=1, seed=0))


def test_a_mark_at_the_beginning_of_a_file_is_no_letter_of_it(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "1+1?", "answer": "2"}\r\n')
    assert [row["answer"] for row in read_source(str(tmp_path / "a.jsonl"), columns={}, size=1, seed=0)] == ["2"]


def test_more_problems_than_a_kind_has_is_one_line(tmp_path):
    with pytest.raises(StageError, match=r"problems: only \d+ different problems in split 'train'"):
        make(tmp_path, source="arithmetic:add", n=20_000, dev=0, holdout=1)
