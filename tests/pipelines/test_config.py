"""The pipeline file: strict, every mistake at once, each with its line and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import config
from pipelines.graph import Pipeline
from pipelines.source import ConfigError
from tests.pipelines.toy_stages import PIPELINE


def load(folder: Path, text: str, *overrides: str) -> Pipeline:
    (folder / "p.yaml").write_text(text)
    return config.load(folder / "p.yaml", overrides)


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    return [line.replace(f"{folder}/", "") for line in caught.value.lines]


def test_a_file_is_read_in_an_order_that_can_run(tmp_path: Path) -> None:
    pipeline = load(tmp_path, PIPELINE)
    assert [node.name for node in pipeline.nodes] == ["base", "problems", "cold", "reason", "scores", "page"]
    assert pipeline.node("cold").config.model_dump()["lr"] == 1e-3
    assert [node.name for node in pipeline.until("cold").nodes] == ["base", "problems", "cold"]


def test_all_mistakes_at_once_with_line_and_suggestion(tmp_path: Path) -> None:
    (tmp_path / "my_reward.py").write_text("")
    text = """\
name: toy
rewards: [./my_rewards.py]
stages:
  base: {use: toy-base}
  problems: {use: toy-problems}
  cold:
    use: toy-train
    from: {model: base, data: problems.chta}
    with: {stpes: 3, lr: fast}
"""
    assert mistakes(tmp_path, text) == [
        "p.yaml:2: rewards.0: no such plugin file: ./my_rewards.py (did you mean my_reward.py?)",
        "p.yaml:8: stages.cold.from.data: `problems` has no output `chta` (did you mean problems.chat?)",
        "p.yaml:9: stages.cold.with.lr: must be a number, not 'fast' (for example 1e-05: learning rate)",
        "p.yaml:9: stages.cold.with.stpes: unknown key (did you mean steps?)",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my_reward.py", "p.yaml"]


BASE = "stages:\n  base: {use: toy-base}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BASE + "sedd: 1\n", "p.yaml:3: sedd: unknown key (did you mean seed?)"),
        (BASE + "seed: -1\n", "p.yaml:3: seed: must be an integer from 0, not '-1' (for example 0)"),
        (BASE + "name: ../x\n", "p.yaml:3: name: not usable as a name: '../x'"),
        (BASE + "name: store\n", "p.yaml:3: name: not usable as a name: 'store'"),
        ("stages:\n  a: {use: toy-bse}\n", "p.yaml:2: stages.a.use: unknown stage kind 'toy-bse' (did you mean toy-ba"),
        ("stages:\n  a: {with: {}}\n", "p.yaml:2: stages.a: `use` is missing"),
        ("stages:\n  a: [1]\n", "p.yaml:2: stages.a: must be a mapping, not a list"),
        (BASE + "  base: {use: toy-base}\n", "p.yaml:3: stages.base: duplicate key (first given on line 2)"),
        (BASE + "  a: {<<: {with: {}}, use: toy-base}\n", "p.yaml:3: stages.a.<<: merge keys are not supported"),
        (BASE + "  a: {use: toy-base, needs: {x: 1}}\n", "p.yaml:3: stages.a.needs.x: unknown key"),
        (BASE + "  a: {use: toy-train}\n", "stages.a.from: missing input `model` (one Model) (in this file: base)"),
        (BASE + "  a: {use: toy-train, from: {model: bas}}\n", "unknown stage `bas` (did you mean base?)"),
        (BASE + "  a: {use: toy-train, from: {model: [base]}}\n", "takes one Model, not a list"),
        (BASE + "  a: {use: toy-train, from: {modle: base}}\n", "stages.a.from.modle: unknown input (did you mean"),
        (BASE + "  a: {use: toy-page, from: {scores: base}}\n", "takes one Scores, but `base` is a Model"),
        (BASE + "  a: {use: toy-base, with: {source: [1]}}\n", "with.source: must be a string, not list"),
        (BASE + "  a: {use: toy-base, with: {source: ./gone}}\n", "p.yaml:3: stages.a.with: no such file: ./gone"),
        (BASE + "  a: {use: toy-train, from: {model: ./gone}}\n", "./gone: no such folder (needs a folder with config"),
        (
            BASE + "  a: {use: toy-train, from: {model: base}, with: {router: {kidn: x}}}\n",
            "stages.a.with.router.kidn: unknown key (did you mean kind?)",
        ),
        (
            BASE + "  a: {use: toy-train, from: {model: base}, with: {packing: bdf}}\n",
            "stages.a.with.packing: must be 'off' or 'bfd', not 'bdf' (did you mean bfd?)",
        ),
        (
            "stages:\n  a: {use: toy-train, from: {model: b}}\n  b: {use: toy-train, from: {model: a}}\n",
            "p.yaml:2: stages.a: goes in a circle: a -> b -> a (cut one of these edges)",
        ),
        ("stages: {a: {use: [}\n", "p.yaml:1: not valid YAML"),
        ("- 1\n", "p.yaml:1: a pipeline file is a mapping"),
        ("", "p.yaml:1: a pipeline file is a mapping"),
        ("name: x\n", "p.yaml:1: stages: no stages"),
        (BASE + "  a: {use: toy-base, with: {source: !!python/name:os.x y}}\n", "stages.a.with: not a plain value"),
        (BASE + "  a: {use: toy-base, with: {source: !!int ''}}\n", "stages.a.with: not a plain value"),
        (BASE + "name: a\x0cb\n", "p.yaml: not valid YAML: special characters are not allowed"),
        (BASE + "  a: {use: toy-train, from: {model: ~nobodyx/m}}\n", "~nobodyx/m: no such folder"),
        (
            BASE + "  a: {use: toy-train, from: {model: base}, with: {rewards: {}}}\n",
            "stages.a.with.rewards: no rewards are given (for example {math: 1.0, format: 0.1})",
        ),
        (
            BASE + "  a: {use: toy-train, from: {model: base}, with: {rewards: {math: true}}}\n",
            "stages.a.with.rewards.math",
        ),
    ],
)
def test_one_mistake_one_line(tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes(tmp_path, text)
    assert len(found) == 1, found
    assert expected in found[0]


def test_words_stay_words_and_numbers_numbers(tmp_path: Path) -> None:
    config = "{packing: off, lr: '1e-5', steps: 7}"
    made = load(tmp_path, BASE + f"  a: {{use: toy-train, from: {{model: base}}, with: {config}}}\n")
    assert made.node("a").config.model_dump(include={"packing", "lr", "steps"}) == {
        "packing": "off",
        "lr": 1e-5,
        "steps": 7,
    }


def test_an_override_is_checked_like_the_file(tmp_path: Path) -> None:
    made = load(tmp_path, PIPELINE, "stages.reason.with.steps=70", "seed=3", "name=x", "stages.base.with.source=big")
    assert made.node("reason").config.model_dump()["steps"] == 70
    assert (made.seed, made.name) == (3, "x")
    assert made.node("base").config.model_dump() == {"source": "big"}
    assert mistakes(tmp_path, PIPELINE, "stages.raeson.with.steps=1", "stages.reason.with.stps=1", "x") == [
        "--set stages.raeson.with.steps=1: stages.raeson: no such entry (did you mean reason?)",
        "--set x: not of the form a.b.c=value (for example --set stages.reason.with.steps=20)",
        "--set stages.reason.with.stps=1: stages.reason.with.stps: unknown key (did you mean steps?)",
    ]


def test_an_override_changes_one_stage_of_those_that_share_an_alias(tmp_path: Path) -> None:
    text = BASE + "  a: {use: toy-train, from: {model: base}, with: &w {steps: 2}}\n"
    text += "  b: {use: toy-train, from: {model: base}, with: *w}\n"
    made = load(tmp_path, text, "stages.a.with.steps=7")
    assert [made.node(name).config.model_dump()["steps"] for name in "ab"] == [7, 2]


def test_an_override_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, PIPELINE, "stages.reason.with={steps: 1, steps: 5}")
    assert "stages.reason.with.steps: duplicate key" in line


def test_a_file_called_like_a_folder_of_the_workdir_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "store.yaml").write_text(BASE)
    assert config.load(tmp_path / "store.yaml").name == "store-run"


def test_a_folder_with_several_outputs_names_them(tmp_path: Path) -> None:
    for part in ("train", "holdout"):
        (tmp_path / "made" / part).mkdir(parents=True)
        (tmp_path / "made" / part / "config.json").write_text("{}")
    (line,) = mistakes(tmp_path, BASE + "  a: {use: toy-train, from: {model: ./made}}\n")
    assert "./made: is no Model (did you mean ./made/train?)" in line


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    with pytest.raises(ConfigError, match=r"tiny.yml: no such file \(did you mean tiny.yaml\?\)"):
        config.load(tmp_path / "tiny.yml")


def test_unknown_and_broken_rewards_are_found_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(:\n")
    stage = "  a: {use: toy-train, from: {model: base}, with: {rewards: {formt: 1.0}}}\n"
    assert "unknown reward 'formt'; did you mean 'format'?" in mistakes(tmp_path, BASE + stage)[0]
    found = mistakes(tmp_path, "rewards: [mine.py]\n" + BASE + stage)
    assert len(found) == 1
    assert found[0].startswith("p.yaml:1: rewards.0: ") and "failed to load" in found[0]


def test_a_plugin_that_is_listed_twice_hides_no_other_mistake(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    assert mistakes(tmp_path, "rewards: [./mine.py, ./mine.py]\n" + BASE) == [
        "p.yaml:1: rewards.1: ./mine.py is listed twice (name it once)"
    ]


EVAL = "stages:\n  base: {use: model}\n  p: {use: problems}\n  s:\n    use: eval\n"


@pytest.mark.parametrize(
    ("models", "settings", "told"),
    [
        ("[base]", "{report: [formta]}", "stages.s.with.report.0: unknown reward 'formta'; did you mean 'format'?"),
        ("[base]", "{report: [judge]}", "stages.s.with.report.0: "),
        ("[base]", "{report: [format], win: {reward: format, against: basse}}", "no model is named 'basse' (did you"),
        ("{../x: base}", "{}", "'../x' is not usable as a name in tables and files"),
        ("{SFT 1/2: base}", "{}", "'SFT 1/2' is not usable as a name in tables and files"),
    ],
)
def test_names_in_an_evaluation_are_checked_before_anything_runs(
    tmp_path: Path, models: str, settings: str, told: str
) -> None:
    (line,) = mistakes(tmp_path, f"{EVAL}    from: {{models: {models}, problems: p.holdout}}\n    with: {settings}\n")
    assert told in line


def test_two_plugins_of_one_file_name_are_two_parts_of_the_key(tmp_path: Path) -> None:
    from pipelines.keys import identify

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        code = f"from rewards import reward\n\n@reward\ndef plugin_{folder}(s):\n    return 1.0\n"
        (tmp_path / folder / "mine.py").write_text(code)
    text = BASE + "  a: {use: toy-train, from: {model: base}, with: {rewards: {format: 1.0}}}\n"
    made = load(tmp_path, "rewards: [./a/mine.py, ./b/mine.py]\n" + text)
    digests = identify(made.node("a"), 0, {}, made.rewards, tmp_path).plugins
    assert list(digests) == ["mine.py", "./b/mine.py"] and len(set(digests.values())) == 2
