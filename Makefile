# Two commands do everything on a machine with Python 3.10 or later and a C++ compiler:
#   make demo    install into .venv and do the main job on the model that ships with the project
#   make test    install into .venv and run the test suite

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
CXX_FOUND := $(shell command -v "$${CXX:-c++}" 2>/dev/null || command -v g++ 2>/dev/null || command -v clang++ 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format wheel check-python check-compiler clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: check-compiler $(VENV)/installed-demo ## Compress, compile, run and verify the model that ships with the project
	@$(BIN)/python benchmarks/demo.py

test: check-compiler $(VENV)/installed-dev ## Run the test suite
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-all: check-compiler $(VENV)/installed-dev ## Run the test suite with the full matrix of models and storage forms
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --slow

lint: $(VENV)/installed-dev ## Check style and types
	@$(BIN)/python tests/link_view.py
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/installed-dev ## Format the sources
	@$(BIN)/ruff check --fix -q .
	@$(BIN)/ruff format .

wheel: $(VENV)/installed-dev ## Build the wheel into dist/
	@$(BIN)/python -m build --wheel

clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed-demo: pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[verify]"
	@touch $@

$(VENV)/installed-dev: pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) with the tools for development (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/installed-demo

check-python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "dcc needs Python 3.10 or later: '$(PYTHON)' was not found; install it or say PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "dcc needs Python 3.10 or later, '$(PYTHON)' is $$($(PYTHON) -V 2>&1); say PYTHON=/path/to/a/newer/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv)" >&2; exit 2; }

check-compiler:
	@test -n "$(CXX_FOUND)" || { \
	  echo "dcc needs a C++ compiler: none of \$$CXX, c++, g++ and clang++ was found; install one (Debian, Ubuntu: g++)" >&2; exit 2; }
