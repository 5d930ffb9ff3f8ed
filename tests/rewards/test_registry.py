"""The reward vocabulary: registration, settings, cases, plugins, the built-ins' own cases."""

import pytest

from rewards import Sample, reward
from rewards.check import check_rewards, list_rewards
from rewards.registry import BUILT_IN, RewardError, get, load_plugins, parse_weights


def test_every_built_in_does_what_its_cases_say():
    results = check_rewards(list(BUILT_IN))
    assert [result.name for result in results] == list(BUILT_IN)
    assert [(result.name, result.problems) for result in results if not result.ok] == []
    assert all(any(case.label == label for case in result.cases) for result in results for label in ("gold", "junk"))


def test_list_shows_settings_and_summaries():
    rows = {row.name: row for row in list_rewards()}
    assert set(BUILT_IN) <= set(rows)
    assert "max_tokens: int = 20480" in rows["length"].knobs
    assert all(rows[name].summary.endswith((".", ":")) or rows[name].summary for name in BUILT_IN)


def test_check_reports_each_kind_of_problem(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("""
from rewards import reward
@reward(cases=[("gold", "a"), ("junk", "b")])
def flat(s): return 1
@reward(cases=[("gold", "a")])
def alone(s): return 1
@reward(cases=[("gold", "a"), ("junk", "b"), ("none", "c")])
def loud(s):
    if s.completion == "b": raise KeyError("b")
    return 1.0
@reward(cases=[("gold", ["aa", "b"]), ("junk", ["b", "aa"]), ], group=True)
def longest(samples): return [float(len(s.completion)) for s in samples]
@reward(cases=[("gold", "a", {"level": 2}), ("junk", "a", {"level": 1})])
def knob(s, *, level: int): return level
""")
    results = {r.name: r for r in check_rewards(["flat", "alone", "loud", "longest", "knob"], [path])}
    assert "not above junk" in results["flat"].problems[0]
    assert "no junk case" in results["alone"].problems[0]
    assert any("KeyError" in problem for problem in results["loud"].problems)
    assert any("should not apply" in problem for problem in results["loud"].problems)
    assert results["longest"].ok
    assert results["knob"].ok
    with pytest.raises(RewardError, match="needs the setting 'level'"):
        parse_weights({"knob": 1.0})


def test_bad_definitions_are_refused():
    with pytest.raises(RewardError, match="exactly one positional"):
        reward(lambda a, b: 1.0)
    with pytest.raises(RewardError, match="the name is taken"):

        @reward
        def answers(s: Sample, *, answer: str = "") -> float:
            return 0.0

    with pytest.raises(RewardError, match="did you mean 'n_tokens'"):

        @reward(cases=[("gold", "a", {"n_token": 2})])
        def tokens(s: Sample) -> float:
            return 0.0

    with pytest.raises(RewardError, match="built in"):

        @reward(name="math")
        def mine(s: Sample) -> float:
            return 0.0


def test_two_files_may_not_share_a_name_but_a_later_call_replaces(tmp_path):
    files = [tmp_path / "one.py", tmp_path / "two.py"]
    for number, file in enumerate(files):
        file.write_text(f"from rewards import reward\n@reward\ndef shared(s): return {number}\n")
    with pytest.raises(RewardError, match=r"defined twice: .*one\.py and .*two\.py"):
        load_plugins(files)
    for number in (0, 1, 0):
        load_plugins([files[number]])
        assert get("shared")(None) == number
    files[0].write_text("from rewards import reward\n@reward\ndef shared(s): return 7\n")
    load_plugins([files[0]])
    assert get("shared")(None) == 7


def test_settings_are_typed():
    length = get("length")
    assert length.configure({"max_tokens": 100}) == {"max_tokens": 100}
    for wrong in (1.5, "100", True, None):
        with pytest.raises(RewardError, match="must be int"):
            length.configure({"max_tokens": wrong})
    assert get("code").configure({"cpu_s": 2}) == {"cpu_s": 2.0}
    assert get("code").configure({"cpu_s": "1e-1"}) == {"cpu_s": 0.1}
    with pytest.raises(RewardError, match="target"):
        get("language").configure({"target": "klingon"})
    with pytest.raises(RewardError, match="finite"):
        parse_weights({"math": float("nan")})


def test_plugins_load_once_and_errors_name_the_file(tmp_path):
    good = tmp_path / "good.py"
    good.write_text("from rewards import reward\n@reward\ndef good_one(s): return 1\n")
    assert load_plugins([good]) == ["good_one"]
    assert load_plugins([good]) == ["good_one"]
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    with pytest.raises(RewardError, match=r"empty\.py registers no reward"):
        load_plugins([empty])
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_this\n")
    with pytest.raises(RewardError, match=r"broken\.py failed to load: line 1: ModuleNotFoundError"):
        load_plugins([broken])


def test_math_wants_a_marked_answer_unless_told_otherwise() -> None:
    said, boxed = Sample("6+6", "Answer: 12", "12"), Sample("6+6", r"So \boxed{12}.", "12")
    grade = get("math").function
    assert [grade(said), grade(boxed), grade(said, stated=True)] == [0.0, 1.0, 1.0]
