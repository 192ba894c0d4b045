# On a fresh machine: `make run`, `make test`. Needs Python 3.11 or later, make and git; makes .venv from the lock.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.complete

.PHONY: run setup test torture lint bench docs site lock

# With --env=base, as DVC's stages run, so without conf/local: afterwards `dvc repro` has nothing to do.
run: setup
	$(BIN)/kedro run --env=base --pipelines=full
	test ! -e .git || $(BIN)/dvc commit --quiet --force dvc.yaml

setup: $(SETUP)

$(SETUP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

test: setup
	$(BIN)/python -m pytest -m "not slow" --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# What takes long: a run killed at twenty random moments, and all of DVC's stages once more in another clone.
torture: setup
	$(BIN)/python -m pytest -m slow --capture=no

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Takes some half an hour; nothing else may run meanwhile.
bench: setup
	$(BIN)/python -m benchmarks --write

# What `kedro viz run` shows, as files for any web server; of another environment: KEDRO_ENV=camvid make site.
# Paths in it start at the project's folder: whoever sees it need not know where that is.
site: setup
	rm -rf build
	$(BIN)/kedro viz build --include-previews
	test -f build/index.html
	find build/api -type f -exec sed -i "s|$(CURDIR)/||g" {} +
	@echo "To look at it: $(BIN)/python -m http.server --directory build, then open http://localhost:8000"

# After a change of the dependencies in pyproject.toml.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock
