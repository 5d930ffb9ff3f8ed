"""The README's pipeline, links and commands are real."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_pipeline_shown_is_a_valid_pipeline(tmp_path):
    from pipelines import config

    file = tmp_path / "shown.yaml"
    file.write_text(re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1])
    shown = config.load(file)
    real = config.load(ROOT / "pipelines" / "recipes" / "r1_tiny.yaml")
    assert [(node.name, node.stage.name) for node in shown.nodes] == [(n.name, n.stage.name) for n in real.nodes]


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_commands_shown_exist():
    listed = subprocess.run([Path(sys.executable).with_name("r1"), "--help"], capture_output=True, text=True).stdout
    for command in set(re.findall(r"\br1 (\w+)", README)):
        assert re.search(rf"^\s+{command}\b", listed, re.MULTILINE), command
