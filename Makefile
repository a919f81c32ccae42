# A machine with Python 3.11, 3.12, 3.13 or 3.14 and a package registry is enough:
#   make demo    the main job on a default data set; DATA=photos.zip or ARGS="..." for its options
#   make test    all tests, on all cores; ARGS="-k words" for pytest's options
#   make test-fast  those that need no Keras, process, browser or real photos: a minute or two
#   make check   style, types, and the lock file
#   make docs    the documentation as pages: build/site/index.html; links checked, no warning passes
#   make bench   every benchmark, one after the other
#   make wheel   build dist/handful-*.whl, to be installed elsewhere
#   make lock    write requirements.lock anew after a change of pyproject.toml
#   make clean   remove the environment and what tools have left; not runs/

# One lock file constrains both installations: the demo's takes a part of what the tests' takes.
PYTHON ?= $(or $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name tools/environment.py python 2>/dev/null && echo $$name && break; done),python3)
BENCHMARKS ?= benchmarks/pipelines.py benchmarks/exercise.py benchmarks/scaling.py benchmarks/choices.py benchmarks/trust_check.py benchmarks/trust_labels.py benchmarks/trust_curve.py benchmarks/trust_spread.py benchmarks/trust_calibration.py benchmarks/trust_novelty.py benchmarks/trust_explain.py
DATA ?=
ARGS ?=

BIN := .venv/bin
MADE_FROM := pyproject.toml requirements.lock tools/environment.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast check docs bench wheel lock clean
.DELETE_ON_ERROR:

demo: $(BIN)/.installed
	$(BIN)/handful demo $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(BIN)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-fast: $(BIN)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not real" $(ARGS)

check: $(BIN)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/environment.py lock --check

docs: $(BIN)/.installed-docs
	$(BIN)/python tools/build_docs.py

bench: $(BIN)/.installed-test
	set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

wheel:
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

lock: $(BIN)/.installed-test
	$(BIN)/python tools/environment.py lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests benchmarks tools docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/.installed: $(MADE_FROM)
	$(PYTHON) tools/environment.py install
	touch $@

$(BIN)/.installed-test: $(MADE_FROM)
	$(PYTHON) tools/environment.py install test
	touch $@ $(BIN)/.installed

$(BIN)/.installed-docs: $(MADE_FROM)
	$(PYTHON) tools/environment.py install docs
	touch $@
