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

MAX_BYTES = 2_000_000
VIEWS = {"desktop": (1280, 900), "phone": (390, 844)}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
RUN_AXE = """
<script>{axe}</script>
<script>
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
axe.run(document, {{runOnly: rules}}).then((found) => {{
  const where = (one) => one.nodes.map((node) => node.target.join(" "));
  const told = found.violations.map((one) => ({{id: one.id, impact: one.impact, nodes: where(one)}}));
  const made = document.createElement("pre");
  made.id = "axe-result";
  made.textContent = JSON.stringify({{violations: told, passes: found.passes.length}});
  document.body.append(made);
}});
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


def requests(program: str, page: Path) -> tuple[list[str], list[str]]:
    """(addresses that the page asked for beside itself, lines that it wrote to the console)."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "net.json"
        done = browse(program, page, f"--log-net-log={log}", "--dump-dom")
        text = log.read_text(errors="replace") if log.exists() else ""
    asked = set(re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]+)"', text))
    lines = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert "<h1" in done.stdout, f"the page did not open: {done.stderr[-500:]}"
    return sorted(asked), lines


def axe(program: str, page: Path, script: Path, *flags: str) -> dict[str, object]:
    """axe-core's violations of the page."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        text = page.read_text(encoding="utf-8")
        copy.write_text(text.replace("</body>", RUN_AXE.format(axe=script.read_text(encoding="utf-8")) + "</body>"))
        done = browse(program, copy, "--dump-dom", *flags)
    found = re.search(r'<pre id="axe-result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, f"axe did not answer: {done.stderr[-500:]}"
    result: dict[str, object] = json.loads(html.unescape(found[1]))
    return result


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
    asked, lines = requests(program, given.page)
    checks = [(f"{size:,} bytes", size < MAX_BYTES), (f"{len(asked)} external requests", not asked)]
    checks.append((f"{len(lines)} console lines", not lines))
    for note in [*asked, *lines]:
        print("   ", note)
    if given.axe is None:
        print("axe: left out (give --axe)")
    else:
        for scheme in ("light", "dark"):
            found = axe(program, given.page, given.axe, *dark(scheme))
            bad = found["violations"]
            assert isinstance(bad, list)
            checks.append((f"axe, {scheme}: {len(bad)} violations, {found['passes']} rules passed", not bad))
            for one in bad:
                print("   ", json.dumps(one)[:400])
    for what, good in checks:
        print("ok  " if good else "FAIL", what)
    if given.shots:
        print(*shoot(program, given.page, given.shots, given.height), sep="\n")
    return 0 if all(good for _, good in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
