"""A pipeline refuses to run where the sandbox isolates less than it asks for, before anything is made."""

import pytest
from rich.console import Console

import rewards.code.sandbox as sandboxes
from pipelines import config, runner
from pipelines.source import ConfigError

FILE = """
stages:
  base: {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {source: python, n: 8, holdout: 4}}
  before: {use: eval, from: {models: [base], problems: problems.holdout}, with: {rewards: {math: 1.0, code: CODE}}}
  after: {use: eval, from: {models: [base], problems: problems.holdout}, with: {rewards: {code: 1.0}}}
"""


@pytest.fixture
def kernel_only(monkeypatch):
    sandboxes.discard()
    monkeypatch.setattr(sandboxes, "_REFUSED", {"namespaces": "unshare: Operation not permitted"})
    yield
    sandboxes.discard()


def loaded(tmp_path, code):
    file = tmp_path / "p.yaml"
    file.write_text(FILE.replace("CODE", code))
    return config.load(file)


def test_too_little_isolation_is_refused_before_any_work(tmp_path, kernel_only):
    pipeline = loaded(tmp_path, "{weight: 0.5, min_level: namespaces}")
    with pytest.raises(ConfigError) as refused:
        runner.run(pipeline, tmp_path / "runs", Console(quiet=True))
    (line,) = refused.value.lines
    assert line.startswith(
        "stages.before.with.rewards.code: the code sandbox reaches level 'kernel' here, 'namespaces' is asked for "
        "(unshare: Operation not permitted)"
    )
    assert not (tmp_path / "runs").exists()


def test_enough_isolation_or_no_code_is_fine(tmp_path, kernel_only):
    from pipelines import isolation

    isolation.require(loaded(tmp_path, "{min_level: kernel}").nodes)
    isolation.require(loaded(tmp_path, "{min_level: namespaces}").nodes[:2])
