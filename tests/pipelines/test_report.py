"""The page and the table of a run: complete, harmless, self-contained, and tolerant of what is missing."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.artifacts import Scores
from pipelines.context import Context
from pipelines.report import print_table, render
from pipelines.report_cost import costs
from pipelines.report_data import Run, StageRecord
from pipelines.report_paired import compare, p_text
from pipelines.report_words import manners
from pipelines.stages.report import ReportConfig, report
from tests.pipelines.report_run import MODELS, make_run, write_lines

HOSTILE = "<script>alert(1)</script></pre><img src=x onerror=alert(2)>\"'{{ 7*7 }}]]>"
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """The tags of a page, its text, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "demo")


def table(run_dir: Path, width: int = 100) -> str:
    out = io.StringIO()
    print_table(run_dir, Console(file=out, width=width))
    return out.getvalue()


def test_the_page_shows_every_part_of_the_run(run_dir: Path) -> None:
    path = render(run_dir)
    assert path == run_dir / "report.html"
    page = path.read_text()
    text = "".join(Page(page).words)
    for heading in (
        "Pipeline",
        "Results",
        "Training",
        "Rejection sampling",
        "Problem by problem",
        "How they write",
        "The same problem at each stage",
        "Cost",
        "Stages",
    ):
        assert f">{heading}" in page
    for name in (
        *MODELS,
        "81.0%",
        "d3b4ad500000",
        "torch 2.13.0",
        "harvest",
        "canary_max_gap",
        "2 min 13 s",
        "901 of 1,024 problems",
        "base 2, cold 2",
        "problems by pass rate",
        "× 0.5",
        "a reward of this run's own",
        "base \u2192 final",
    ):
        assert name in text
    for title in (
        "Reward parts",
        "Reflective words",
        "Entropy",
        "KL to the reference",
        "Canary gap",
        "MaxVio per layer",
        "layer 2",
    ):
        assert title in text
    assert "limit 1e-4" in page and 'data-log="1"' in page


def test_the_page_asks_nothing_of_the_network_and_stays_small(run_dir: Path) -> None:
    page = render(run_dir).read_text()
    assert len(page.encode()) < 500_000
    assert not re.search(r"(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(|<link|<iframe|<img", page)
    assert not [attrs for _, attrs in Page(page).tags if {"src", "href"} & set(attrs) and attrs.get("href") != "#main"]


def test_differences_are_paired_by_problem() -> None:
    shares = {"a": [0, 0, 0, 0, 1, 0], "b": [1, 1, 1, 1, 1, 0]}  # of two samples each, all alike
    rows: list[dict[str, object]] = [
        {"model": model, "id": str(i), "correct": bool(right)}
        for model, listed in shares.items()
        for i, right in enumerate(listed)
        for _ in range(2)
    ]
    (found,) = compare(rows, ["a", "b"])
    assert (found.before, found.after, found.problems, found.better, found.worse) == ("a", "b", 6, 4, 0)
    assert found.points == pytest.approx(400 / 6)
    assert found.p == pytest.approx(2 / 2**4)  # four problems moved, all the same way
    assert found.verdict == "" and p_text(found.p) == "0.12" and p_text(0.00312) == "0.0031"
    assert found.low == pytest.approx(400 / 6 - 196 * math.sqrt(6 * (4 / 6) * (2 / 6) / 5 / 6), rel=1e-3)


def test_manner_of_writing() -> None:
    texts = [
        "<think>Wait, that is wrong. Let me check.</think><answer>1</answer>",
        "<think></think><answer>2</answer>",
        "<answer>Waiting is no such word</answer>",
        "<think>Das ist aber nicht die Antwort.</think><answer>3</answer>",
    ]
    (found,) = manners({"m": texts}, ["m", "absent"])
    assert (found.read, found.thinks, found.reflective, found.per_answer) == (4, 0.5, 0.25, 0.75)
    assert found.language == pytest.approx(7 / 13)


def test_the_parts_of_a_stage_add_up_to_its_time() -> None:
    rows = [{"step": i, "seconds/generate": 2.0, "seconds/train": 1.0, "seconds/step": 3.0} for i in range(10)]
    stage = StageRecord("reason", "grpo", manifest={"wall_s": 40.0, "metrics": {"tokens": 8000}}, rows=rows)
    (cost,) = costs(Run("r", [stage], []))
    assert (cost.share, cost.tokens) == (100, 8000)
    assert cost.parts == [("drawing", 50), ("training", 25), ("start and save", 25)]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "<b>run", hostile=HOSTILE)
    rows = [{"step": i, "reward": 0.1 * i, f"rewards/{HOSTILE}": 0.5, f"{HOSTILE}/x": 1.0} for i in range(3)]
    write_lines(run_dir / "reason/metrics.jsonl", rows)
    page = render(run_dir).read_text()
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not [tag for tag, attrs in parsed.tags if tag in ("img", "b") and "onerror" in attrs]
    assert "<script>alert" not in page and "onerror=alert(2)&gt;" in page
    assert "".join(parsed.words).count("{{ 7*7 }}") > 5  # and was not evaluated


def test_accessible_names_and_headings(run_dir: Path) -> None:
    tags = Page(render(run_dir).read_text()).tags
    assert tags[0] == ("html", {"lang": "en"})
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for tag, attrs in tags if tag == "svg")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags if tag == "th")
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_missing_and_broken_files_leave_gaps(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    shutil.rmtree(run_dir / "final")
    (run_dir / "cold/manifest.json").unlink()
    (run_dir / "harvest/funnel.json").write_text("{")
    (run_dir / "scores/samples.parquet").write_bytes(b"no parquet")
    lines = ['{"step": 1, "reward": NaN, "kl": Infinity}', '{"step": 2, "reward": 0.5, "kl": null}', '{"step": 3, "rew']
    (run_dir / "reason/metrics.jsonl").write_text("\n".join(lines))
    text = "".join(Page(render(run_dir).read_text()).words)
    assert "Reward" in text and "KL" not in text and "Rejection" not in text and "nan" not in text.lower()
    assert "reason" in table(run_dir)


def test_scores_with_nothing_but_one_model(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    scores = {"models": {"only": {"pass@1": 0.5, "ci95": [float("nan"), 1], "cons@k": None, "families": {}}}}
    (run_dir / "scores/scores.json").write_text(json.dumps(scores))
    assert "50.0" in "".join(Page(render(run_dir).read_text()).words)
    assert "50.0" in table(run_dir)


def test_a_failed_run_shows_the_error_and_the_curves_it_left(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    content = json.loads((run_dir / "run.json").read_text())
    for name in ("reason", "harvest", "final", "scores"):
        shutil.rmtree(run_dir / name)
        content["stages"][name]["status"] = "pending"
    content["stages"]["reason"] |= {"status": "failed", "error": "canary: gap <1.7>"}
    (run_dir / "run.json").write_text(json.dumps(content))
    scratch = tmp_path / "store/.scratch" / f"grpo-{content['stages']['reason']['key'][:16]}"
    scratch.mkdir(parents=True)
    write_lines(scratch / "metrics.jsonl", [{"step": i, "reward": i / 9} for i in range(9)])
    text = "".join(Page(render(run_dir).read_text()).words)
    assert "canary: gap <1.7>" in text and "Reward" in text and "Results" not in text
    assert "failed" in table(run_dir)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        render(tmp_path)


def test_a_big_run_stays_under_two_megabytes(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", steps=1)
    names = [f"group{g}/part{p}" for g in range(25) for p in range(8)]
    rows = [
        {"step": s, "load/1": list(range(256)), **{n: (s * 7 % 13) + i for i, n in enumerate(names)}}
        for s in range(500)
    ]
    write_lines(run_dir / "reason/metrics.jsonl", rows)
    make_run(tmp_path / "long", hostile="<&>" * 3000, problems=12)
    shutil.copytree(tmp_path / "long/scores", run_dir / "scores", dirs_exist_ok=True)
    assert render(run_dir).stat().st_size < 2_000_000


def test_the_table_is_in_pipeline_order_and_fits_a_terminal(run_dir: Path) -> None:
    lines = table(run_dir, width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    models = [line.split()[0] for line in lines if "±" in line and "pass@1" not in line]
    assert models == list(MODELS)
    assert "84.0 ±3.0" in "\n".join(lines) and "5 min 37 s" in "\n".join(lines)


def test_the_stage_makes_the_page_with_and_without_a_run(run_dir: Path, tmp_path: Path) -> None:
    for name, around in (("alone", None), ("whole", run_dir)):
        out = tmp_path / name
        (out / "scratch").mkdir(parents=True)
        ctx = Context(out, 0, out / "scratch", run=around)
        made = report(ctx, ReportConfig(title="A & B"), scores=Scores(run_dir / "scores"))
        page = (made.path / "report.html").read_text()
        assert "A &amp; B" in page and "The same problem at each stage" in page
        assert ("Reward parts" in page) == (around is not None)


def test_a_report_is_the_same_when_made_again(run_dir: Path) -> None:
    assert render(run_dir).read_bytes() == render(run_dir).read_bytes()
