# make demo | test | check | install: each sets up what it needs (.venv, CPU torch, this package) and then runs.
#
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cu128   for a CUDA build of torch
#   make test PYTEST_FLAGS="-k streaming"                             to choose tests

PYTHON       ?= python3
VENV         ?= .venv
TORCH        ?= torch==2.13.0
TORCH_INDEX  ?= https://download.pytorch.org/whl/cpu
PYTEST_FLAGS ?=
WORKERS      ?= auto
DEMO_FLAGS   ?=

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
FAST    := not slow and not gpu and not weights
# One test process per core, at most four, each computing in one thread: threads of several would fight.
PYTEST  := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4
SOURCES := world_model v2w_env planners agents benchmarks configs v2w tests

# Simulators draw without a screen.
export SDL_VIDEODRIVER ?= dummy

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint fast-test format clean

help:
	@echo "make demo      a real simulator and its imagined double side by side (writes demo.mp4)"
	@echo "make test      the whole test suite"
	@echo "make check     ruff, mypy, import layers and the fast tests"
	@echo "make install   only the set-up: $(VENV), torch, this package with its extras"
	@echo "make format    let ruff rewrite the code"

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo $(DEMO_FLAGS)

test: $(STAMP)
	$(PYTEST) $(PYTEST_FLAGS)

check: lint fast-test

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fast-test: $(STAMP)
	$(PYTEST) -m "$(FAST)" $(PYTEST_FLAGS)

format: $(STAMP)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Set-up, redone only when pyproject.toml changed ----------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "$(PYTHON) is too old or missing: Python 3.10 or newer is needed (make PYTHON=python3.11 ...)"; exit 1; }
	$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "could not create $(VENV) (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }

# Plain `pip install torch` brings gigabytes of CUDA libraries on Linux, so PyTorch's own CPU index comes first. Without
# a way to it the attempt ends within seconds and pip's configured index (a mirror, local wheels) is asked.
$(STAMP): pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(BIN)/python -m pip install --retries 0 --timeout 10 --index-url $(TORCH_INDEX) $(TORCH) \
	  || { echo "$(TORCH_INDEX) has no $(TORCH) for this machine or cannot be reached: asking pip's default index"; \
	       $(BIN)/python -m pip install $(TORCH); }
	$(BIN)/python -m pip install -e '.[sim,data,dev]'
	@touch $@
