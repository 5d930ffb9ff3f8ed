"""`r1 doctor`: what this machine offers, each thing tried rather than assumed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import combinations, provenance

Line = tuple[bool | None, str, str]  # fine (None: works, worth knowing), what, what was found


def lines() -> list[Line]:
    """All checks, in the order in which they matter."""
    found = provenance.versions()
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    first: list[Line] = [(True, "versions", versions), _torch(), *_combinations()]
    return [*first, _vllm(), *_sandbox(), (True, "commit", _commit())]


def template_lines(folders: Sequence[str]) -> list[Line]:
    """What `pipelines.template_lint` finds in the chat template of each model folder.

    Raises:
        ConfigError: one of them holds no tokenizer.
    """
    from pipelines.artifacts import Model
    from pipelines.edges import locate
    from pipelines.source import ConfigError
    from pipelines.template_lint import lint_folder

    found: list[Line] = []
    for text in folders:
        folder = locate(Path(text).resolve(), Model) or Path(text)
        if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            raise ConfigError([f"--template {text}: no tokenizer there (a folder with tokenizer.json in it)"])
        found += [(one.ok, one.what, one.found) for one in lint_folder(folder)]
    return found


def text(line: Line) -> str:
    """One line as it is printed."""
    ok, what, found = line
    return f"{'note' if ok is None else 'ok  ' if ok else 'FAIL'} {what:<12} {found}"


def _combinations() -> list[Line]:
    machine = combinations.here()
    bad: list[Line] = [(level, "combination", found) for level, found in combinations.known_bad(machine)]
    note: list[Line] = [(None, "combination", found)] if (found := combinations.amx_note(machine)) else []
    return [*(bad or [(True, "combination", "none that is known to be bad")]), *note]


def _commit() -> str:
    return provenance.git_commit() or "not a git checkout"


def _torch() -> Line:
    try:
        import torch  # noqa: F401 - `device` looks whether it is loaded
    except ImportError as error:
        return False, "torch", f"{error}; run `make setup`"
    return True, "device", provenance.device()


def _vllm() -> Line:
    if importlib.util.find_spec("vllm") is None:
        return False, "vllm", "not installed: rollouts fall back to transformers, which is slow; run `make setup`"
    # In a process of its own: a broken native library may take the process down.
    command = [sys.executable, "-c", "import vllm; print(vllm.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False, "vllm", "the import did not end within 120 s"
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:] or ["no message"]
    return done.returncode == 0, "vllm", f"imports, {last[0]}" if done.returncode == 0 else f"import fails: {last[0]}"


def _sandbox() -> list[Line]:
    """The level of the code sandbox, its layers, and one program that it runs."""
    from rewards.code import InfrastructureError, run, sandbox_level

    try:
        level = sandbox_level()
    except InfrastructureError as error:
        return [(False, "sandbox", str(error))]
    tests = {"type": "call", "fn_name": "f", "inputs": [[2]], "outputs": [4]}
    report = run("def f(x):\n    return x + x", tests, min_level="none")
    works = "runs code" if report.passed else f"FAILS: {report.detail}"
    fine = report.passed and level["name"] in ("kernel", "namespaces")
    return [(fine, "sandbox", f"level {level['name']}, {works}"), *[(True, "", line) for line in _layers(level)]]


def _layers(level: dict[str, Any]) -> list[str]:
    refused = f"none ({level['refused']})" if level["refused"] else "none"
    have = {
        "seccomp": level["seccomp"],
        f"Landlock {level['landlock']}": level["landlock"],
        "rlimits": level["rlimits"],
        "no_new_privs": level["no_new_privs"],
        "no capabilities": level["capabilities_dropped"],
        "private files": level["private_files"],
        "cgroup": level["cgroup"],
    }
    lack = [name.partition(" 0")[0] for name, there in have.items() if not there]
    layers = ", ".join(name for name, there in have.items() if there)
    without = f"; not {', '.join(lack)}" if lack else ""
    return [f"namespaces: {' '.join(level['namespaces']) or refused}", f"layers: {layers}{without}"]
