# make demo trains and evaluates the main job; make test passes the tests. Each sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The slow tests too; make test TESTS="-m 'not slow'" leaves them out. A process for each core takes a file at a time.
TESTS ?=

.PHONY: demo test test-lowest test-newest lint types setup docs

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints/tested.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints/tested.txt -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/python train.py model=cgan data=realistic

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(TESTS)

# The fast tests with the oldest versions that pyproject.toml allows, and with the newest there are.
test-lowest test-newest: test-%:
	$(PYTHON) -m venv build/$*
	build/$*/bin/python -m pip install --disable-pip-version-check --quiet \
	  $(if $(filter lowest,$*),-c constraints/lowest.txt) -e ".[dev]"
	OMP_NUM_THREADS=1 build/$*/bin/python -m pytest -n auto --dist loadfile -m "not slow"

lint: setup
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
