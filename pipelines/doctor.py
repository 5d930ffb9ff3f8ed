"""`r1 doctor`: what this machine offers, each thing tried rather than assumed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

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
    """Run one harmless program and one that never ends through the code grader."""
    from rewards import code

    if not hasattr(code, "run"):
        return [(False, "sandbox", "rewards.code has no runner")]
    tests = {"type": "call", "fn_name": "f", "inputs": [[2]], "outputs": [4]}
    try:
        good = code.run("def f(x):\n    return x + x", tests)
    except OSError as error:
        return [(False, "sandbox", f"cannot start a program: {error}")]
    return [(good.passed, "sandbox", "runs code" if good.passed else f"verdict {good.verdicts}")]
