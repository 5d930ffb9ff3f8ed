"""The `code` reward: which program is taken from a completion, what it scores, and when it refuses."""

import json

import pytest

import rewards.code.sandbox as sandboxes
from rewards.code import InfrastructureError
from rewards.code.reward import code_reward, extract_code
from rewards.registry import RewardError, get
from rollout.types import Sample

TWICE = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
HALF = "<answer>\n```python\ndef f(x):\n    return x + 1\n```\n</answer>"


def sample(completion=HALF, tests=TWICE):
    return Sample("", completion, row={"tests": json.dumps(tests)} if tests else {})


def test_all_or_nothing_and_partial_credit():
    assert code_reward(sample()) == 0.0
    assert code_reward(sample(), partial=True) == 0.5
    assert code_reward(sample(tests=TWICE | {"weights": [3, 1]}), partial=True) == 0.75
    assert code_reward(sample(HALF.replace("x + 1", "x + x"))) == 1.0
    assert code_reward(sample(tests=None)) is None
    assert code_reward(sample("<answer>I do not know</answer>")) == 0.0


def test_a_broken_sandbox_is_an_error_and_not_a_score(monkeypatch):
    sandboxes.discard()
    monkeypatch.setattr(sandboxes, "SERVER", sandboxes.SERVER.with_name("nowhere.py"))
    with pytest.raises(InfrastructureError):
        code_reward(sample())


def test_below_the_minimum_level_it_refuses(monkeypatch):
    sandboxes.discard()
    monkeypatch.setattr(sandboxes, "_REFUSED", {"namespaces": "EPERM"})
    assert code_reward(sample(), min_level="kernel") == 0.0
    with pytest.raises(InfrastructureError, match="level 'kernel' here, 'namespaces' is asked for \\(EPERM\\)"):
        code_reward(sample(), min_level="namespaces")
    sandboxes.discard()
    with pytest.raises(RewardError, match="min_level"):
        get("code").configure({"min_level": "magic"})


def test_a_base_states_its_program_in_plain_text():
    program = "def f(x):\n    return 7*x+8\n"
    for text in (f"Work: b=8\nAnswer: {program}", f"Answer: ```python\n{program}```\n", f"Answer:\n{program}"):
        taken = extract_code(text, stated=True)
        assert taken is not None and taken.strip() == program.strip()
    assert extract_code(f"Answer: {program}") is None
    assert extract_code("<answer>no program</answer> Answer: print(1)", stated=True) is None


def test_extract_code():
    fenced = "```python\ndef f(): pass\n```"
    assert extract_code(f"<think>x</think><answer>\n{fenced}\n</answer>") == "def f(): pass\n"
    assert extract_code(f"<think>{fenced}</think><answer>none</answer>") is None
    assert extract_code(f"{fenced}\nor better\n```\nprint(1)\n```\n") == "print(1)\n"
    assert extract_code(f"{fenced}\n```text\nout\n```") == "def f(): pass\n"
    assert extract_code(f"{fenced}\n```python\ndef f(): unfinished") == "def f(): pass\n"
    assert extract_code(fenced.replace("\n", "\r\n")) == "def f(): pass\n"
    assert extract_code(f"1. so\n   {fenced}".replace("\n", "\n   ")) == "def f(): pass\n"
    assert extract_code('~~~py\ns = """\n```\n"""\n~~~') == 's = """\n```\n"""\n'
    assert extract_code("```text\nout\n```") is None
    assert extract_code("def f(): pass") == "def f(): pass"
    assert extract_code(f"<think>{fenced}") is None
    assert extract_code(f"<answer>{fenced}") is None


def test_extract_the_program_and_not_its_output():
    fenced = "```python\nprint(1)\n```\n"
    assert extract_code(f"{fenced}Output:\n```\n1\n```\n") == "print(1)\n"
    assert extract_code("```\nx = 1\nprint(x)\n```\nOutput:\n```\n1\n```\n") == "x = 1\nprint(x)\n"
    assert extract_code("```\nx = input()\n```\n") == "x = input()\n"


def test_fences_as_models_write_them():
    assert extract_code("Solution: ```python\nif 1:\n    print(1)\n```\n") == "if 1:\n    print(1)\n"
    assert extract_code("1. ```python\n   if 1:\n       print(1)\n   ```\n") == "if 1:\n    print(1)\n"
    assert extract_code("1. ```python\nif 1:\n  print(1)\n```\n") == "if 1:\n  print(1)\n"
    assert extract_code("```py3\nprint(1)\n```") == "print(1)\n"
    assert extract_code("```python\nprint(1)```\nOutput:\n```\n1\n```") == "print(1)\n"
    docstring = 'def f():\n    """As in f()```\n    """\n'
    assert extract_code(f"```python\n{docstring}```") == docstring
    assert extract_code("see ``` and\n```python\nprint(1)\n```\n") == "print(1)\n"


def test_tags_that_a_program_writes_are_its_own():
    for tag in ("</think>", "<think>", "<answer>", "</answer>"):
        for line in (f"print('{tag}')\n", f'x = "{tag}"\n', f"x = 1  # not {tag}\n"):
            block = f"```python\n{line}```"
            for text in (block, f"<think>a</think>\n{block}", f"<think>a</think><answer>{block}</answer>"):
                assert extract_code(text) == line, text
            assert extract_code(f"<think>{block}") is None
            assert extract_code(f"<think>{block}</think>none") is None
    cut = "<think>```python\nx = 1\n</think>\n```python\nprint(1)\n```"
    assert extract_code(cut) == "print(1)\n"


def test_extraction_is_linear():  # or this would take hours
    assert extract_code("```" + "a" * 200_000 + "`") is None
    assert extract_code("a" * 200_000 + "```" + "-" * 200_000 + "`") is None
    assert extract_code("```a\n" * 200_000) is None
    assert extract_code("<answer>" * 100_000 + "`" * 100_000) is None
