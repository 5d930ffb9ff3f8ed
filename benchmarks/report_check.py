"""A run's report in a real browser: requests, console, accessibility (axe), size, and screenshots to look at.

    python benchmarks/report_check.py runs/r1-tiny/report.html --axe node_modules/axe-core/axe.min.js --shots shots

Needs Chromium (`apt-get install chromium`); without axe-core (`npm install axe-core`) that check is left out and
said so. Exit code 1 where a check fails.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MAX_BYTES = 2_000_000
VIEWS = {"desktop": (1280, 900), "phone": (390, 844)}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Whatever the page asks for beside its own text is refused and reported, before and after it has loaded.
GUARD = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>
window.refused = [];
const note = (event) => window.refused.push(event.blockedURI + " (" + event.effectiveDirective + ")");
document.addEventListener("securitypolicyviolation", note);
</script>
"""
REPORT = """
<script>{axe}</script>
<script>
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const tell = (found) => {{
  const where = (one) => one.nodes.map((node) => node.target.join(" "));
  const told = found.violations.map((one) => ({{id: one.id, impact: one.impact, nodes: where(one)}}));
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const made = document.createElement("pre");
  made.id = "check-result";
  made.textContent = JSON.stringify({{
    violations: told, passes: found.passes.length, asked: [...window.refused, ...loaded],
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  }});
  document.body.append(made);
}};
window.axe ? axe.run(document, {{runOnly: rules}}).then(tell) : tell({{violations: [], passes: []}});
</script>
"""


def browse(program: str, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page in headless Chromium with no network but the page itself, in a profile of its own."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
            "--enable-logging=stderr", "--virtual-time-budget=20000", *flags, page.resolve().as_uri(),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def inspect(program: str, page: Path, script: Path | None, *flags: str) -> dict[str, Any]:
    """What the page asked for, axe-core's violations, pixels that it is wider than its window, console lines."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        axe = script.read_text(encoding="utf-8") if script else ""
        text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{GUARD}", 1)
        copy.write_text(text.replace("</body>", REPORT.format(axe=axe) + "</body>"), encoding="utf-8")
        done = browse(program, copy, "--dump-dom", *flags)
    found = re.search(r'<pre id="check-result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, f"the page did not answer: {done.stderr[-500:]}"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return {**result, "console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}


def shoot(program: str, page: Path, folder: Path, height: int) -> list[Path]:
    """Screenshots of the whole page in each view, light and dark, and the printed page."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for view, (width, _) in VIEWS.items():
        for scheme in ("light", "dark"):
            target = folder / f"{view}-{scheme}.png"
            long = height if view == "desktop" else 2 * height
            browse(program, page, f"--screenshot={target.resolve()}", f"--window-size={width},{long}", *dark(scheme))
            made.append(target)
    target = folder / "print.pdf"
    browse(program, page, f"--print-to-pdf={target.resolve()}", "--no-pdf-header-footer")
    return [*made, target]


def dark(scheme: str) -> list[str]:
    return ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--height", type=int, default=6000, help="pixels of a desktop screenshot")
    given = parser.parse_args()
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        print(f"no Chromium here (looked for {', '.join(CHROMIUM)})")
        return 1
    size = given.page.stat().st_size
    checks = [(f"{size:,} bytes", size < MAX_BYTES)]
    for view, (width, height) in VIEWS.items():
        for scheme in ("light", "dark"):
            found = inspect(program, given.page, given.axe, f"--window-size={width},{height}", *dark(scheme))
            counts = {name: len(found[name]) for name in ("asked", "console", "violations")}
            told = f"{counts['asked']} requests, {counts['console']} console lines, {found['wide']} px too wide"
            axe = f", axe: {counts['violations']} violations, {found['passes']} rules passed" if given.axe else ""
            checks.append((f"{view}, {scheme}: {told}{axe}", not any(counts.values()) and found["wide"] <= 0))
            for one in [*found["asked"], *found["console"], *found["violations"]]:
                print("   ", json.dumps(one)[:400])
    if given.axe is None:
        print("axe: left out (give --axe)")
    for what, good in checks:
        print("ok  " if good else "FAIL", what)
    if given.shots:
        print(*shoot(program, given.page, given.shots, given.height), sep="\n")
    return 0 if all(good for _, good in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
