# Two commands set everything up: `make demo` and `make test`. PIP_FLAGS reaches pip.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN = $(VENV)/bin
MODEL ?=
PORT ?=
WORKERS ?= 2
# Two processes of one thread each: on two cores faster than one process of two.
# Each process of a test finds the modules compiled, whatever this shell says of it.
TESTS = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test test-fast test-elsewhere nightly lab notebooks lint browser gallery bench bench-check mutants nbgrader-check

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1: /p' Makefile | while IFS=: read -r target text; do printf 'make %-15s%s\n' "$$target" "$$text"; done

demo: $(VENV)/.installed  ## the first five minutes: count, verify, break, learn; MODEL=path-or-hub-id adds a model
	@$(BIN)/gnivo-edu demo $(if $(MODEL),--model "$(MODEL)")

lab: $(VENV)/.installed  ## open the notebooks; PORT=8899 at that port
	@$(BIN)/gnivo-edu lab $(if $(PORT),--port $(PORT))

test: lint browser  ## lint and every test, a quarter of an hour
	$(TESTS) -m "not nightly"

test-fast: $(VENV)/.installed-dev  ## the tests that take seconds
	$(TESTS) -m "not slow and not nightly"

# The same on every machine: rows of odd processors, threads and surroundings, an hour on two cores.
# `make test-elsewhere ROWS=surroundings` runs one of them.
ROWS ?= kernels one-thread two-threads surroundings
test-elsewhere: $(VENV)/.installed-dev  ## the suite in odd surroundings, an hour; ROWS=... for some of them
	@WORKERS=$(WORKERS) bash tests/elsewhere.sh $(BIN)/python $(ROWS)

# Not part of `make test`, by hand. Minutes of one core: each student copy is run (10), each family of
# models (6), command lines (5) and batches (2) are drawn at random, runs are killed a hundred times (4).
nightly: $(VENV)/.installed-dev  ## prove by running what another test reads off
	$(TESTS) -m nightly

lint: $(VENV)/.installed-dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(VENV)/.installed-dev  ## build the notebooks from notebooks/src
	$(BIN)/gnivo-edu build-course

# The page tests drive a real browser. Where there is none and apt-get cannot bring one, they are skipped with the reason.
browser: $(VENV)/.installed-dev  ## find or install Chromium, for the tests of pages
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1; } || \
	  echo "no Chromium found: the page tests will be skipped"

$(VENV)/bin/python:
	@echo "Creating $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

# The stamps make every later run skip pip until the requirements change.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "Installing gnivo_edu (once, about a minute)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "Installing gnivo_edu with its tests (once, about a minute)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@ $(VENV)/.installed

gallery: $(VENV)/.installed  ## every figure of the course on one page
	@$(BIN)/python -m gnivo_edu.demo.gallery

# Not part of `make test`: about twelve minutes of an idle machine. BENCH names some of them, BENCH_PYTHON
# another environment, such as one with the extra trl.
BENCH ?= all
BENCH_PYTHON ?= $(BIN)/python
bench: $(VENV)/.installed  ## measure speed and memory against peers, and rewrite benchmarks/
	$(BENCH_PYTHON) -m gnivo_edu.cli bench $(BENCH) --into benchmarks $(if $(NOTE),--note "$(NOTE)")

bench-check: $(VENV)/.installed  ## measure again: has any ratio fallen below benchmarks/?
	$(BENCH_PYTHON) -m gnivo_edu.cli bench $(BENCH) --against benchmarks

# Not part of `make test`: many minutes. Is every formula of the objectives, and of the exact oracle, held by some test?
mutants: $(VENV)/.installed-mutants  ## is every formula held by some test? Many minutes
	$(BIN)/python tests/mutants.py --workers $(WORKERS)
	$(BIN)/python tests/mutants.py --workers $(WORKERS) --room exact

$(VENV)/.installed-mutants: pyproject.toml $(CONSTRAINTS) $(VENV)/.installed-dev
	@echo "Installing mutmut (once)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c $(CONSTRAINTS) -e ".[dev,mutants]"
	@touch $@

# Not part of `make test`: nbgrader brings a hundred packages, so it has an environment of its own.
nbgrader-check: $(VENV)/.installed .venv-nbgrader/.installed  ## nbgrader reads the handout, in an environment of its own
	@$(BIN)/python tests/course/nbgrader_check.py .venv-nbgrader

.venv-nbgrader/.installed:
	@echo "Installing nbgrader in .venv-nbgrader (once, about a minute)"
	@$(PYTHON) -m venv .venv-nbgrader
	@.venv-nbgrader/bin/python -m pip install -q $(PIP_FLAGS) nbgrader==0.9.6
	@touch $@
