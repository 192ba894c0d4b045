# On a fresh machine: `make run`, `make test`. Needs Python 3.11 or later, make and git; makes .venv from the lock.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.complete

.PHONY: run setup test torture lint bench lock

run: setup
	$(BIN)/kedro run --pipelines=full

setup: $(SETUP)

$(SETUP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

test: setup
	$(BIN)/python -m pytest -m "not slow"

# What takes long: a run killed at twenty random moments, and all of DVC's stages once more in another clone.
torture: setup
	$(BIN)/python -m pytest -m slow --capture=no

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m igl_dt.benchmark
	$(BIN)/python -m igl_dt.benchmark loading
	$(BIN)/python -m igl_dt.benchmark splitting
	$(BIN)/python -m igl_dt.benchmark prediction

# After a change of the dependencies in pyproject.toml.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock
