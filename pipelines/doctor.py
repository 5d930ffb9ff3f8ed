"""`r1 doctor`: what this machine offers, each thing tried rather than assumed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import provenance

Line = tuple[bool, str, str]  # fine or not, what, what was found


def lines() -> list[Line]:
    """All checks, in the order in which they matter."""
    found = provenance.versions()
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    return [(True, "versions", versions), _torch(), _vllm(), *_sandbox(), (True, "commit", _commit())]


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


def fidelity(models: Sequence[str], page: Path | None, limit: float) -> bool:
    """Compare trainer and engine on each model, print the table row by row; whether all agree."""
    from pipelines import fidelity
    from pipelines.source import ConfigError

    if not models:
        raise ConfigError(["--write needs --model: `r1 doctor --model random:all --write FILE`"])
    if limit <= 0:
        raise ConfigError([f"--limit {limit:g}: a number of seconds above 0"])
    wanted = fidelity.targets(models)
    if page is not None:
        fidelity.check_page(page)
    measured = []
    print(fidelity.markdown(fidelity.HEAD))
    for row in fidelity.rows(wanted, limit):
        print(fidelity.markdown(fidelity.cells(row)), flush=True)
        measured.append(row)
    if page is not None:
        fidelity.write_page(page, measured)
    return all(row.judged[0] for row in measured)
