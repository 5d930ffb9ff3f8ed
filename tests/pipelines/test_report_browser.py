"""The page in a real browser, where there is one: it asks for nothing, says nothing to the console and fits a phone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.report_check import CHROMIUM, inspect
from pipelines.report import render
from tests.pipelines.report_run import make_run

PROGRAM = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")


def test_the_page_asks_for_nothing_and_fits_a_phone(tmp_path: Path) -> None:
    assert PROGRAM is not None
    page = render(make_run(tmp_path / "demo", hostile="<img src=https://example.com/a.png>"))
    found = inspect(PROGRAM, page, None, "--window-size=390,844")
    assert (found["asked"], found["console"], found["wide"]) == ([], [], 0)


def test_the_check_would_see_a_request(tmp_path: Path) -> None:
    assert PROGRAM is not None
    page = tmp_path / "page.html"
    page.write_text('<html><head></head><body><h1>x</h1><img src="https://example.com/a.png"></body></html>')
    found = inspect(PROGRAM, page, None)
    assert any("example.com" in one for one in found["asked"]) and found["console"]
