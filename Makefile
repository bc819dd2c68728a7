# Two commands for a newcomer: `make demo` and `make test`. Both install first, into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# The tests share the machine's cores: each worker computes with one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.PHONY: install demo test test-long check format

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mixlab needs Python 3.11 or newer: set PYTHON, as in make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[baselines,data,tfds,track,dev]"
	@touch $@

demo: install
	$(BIN)/mixlab compare --data digits

test: install
	$(PYTEST) -n 2 -m "not long"

test-long: install
	$(PYTEST) -n 2 -m long

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
