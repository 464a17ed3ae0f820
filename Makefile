# make demo trains and evaluates the main job; make test passes the tests. Each sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The slow tests too; make test TESTS="-m 'not slow'" leaves them out.
TESTS ?=

.PHONY: demo test lint types setup docs

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/python train.py model=cgan data=realistic

test: setup
	$(BIN)/python -m pytest $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
