# Two commands for a newcomer: `make demo` and `make test`. Both install first, into .venv. `make demo` installs only what
# it needs; `make test` adds the other extras to the same .venv, and then `make demo` installs nothing.

PYTHON ?= python3
BIN := .venv/bin
DEMO_EXTRAS := baselines
ALL_EXTRAS := audio,baselines,data,deploy,explain,papers,ray,segmentation,serve,tfds,track,dev
DEMO_INSTALLED := .venv/.installed-demo
ALL_INSTALLED := .venv/.installed

# The tests share the machine's cores: each worker computes with one thread. A file's tests share fixtures, so they run on
# one worker; tests/conftest.py puts the dearest files first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: install demo page test test-long test-all check format results

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mixlab needs Python 3.11 or newer: set PYTHON, as in make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(1)]"
	@touch $@
endef

install: $(ALL_INSTALLED)

$(ALL_INSTALLED): pyproject.toml constraints.txt
	$(call install,$(ALL_EXTRAS))

$(DEMO_INSTALLED): pyproject.toml constraints.txt
	$(call install,$(DEMO_EXTRAS))

demo: $(or $(wildcard $(ALL_INSTALLED)),$(DEMO_INSTALLED))
	$(BIN)/mixlab compare --data digits

# The page of docs/demo, with the runtime that it needs.
page: docs/demo/ort.wasm.min.mjs
	@echo http://localhost:8000
	@$(BIN)/python -m http.server --directory docs/demo --bind 127.0.0.1

docs/demo/ort.wasm.min.mjs: | $(or $(wildcard $(ALL_INSTALLED)),$(DEMO_INSTALLED))
	$(BIN)/python -c "from pathlib import Path; from mixlab.export.web_runtime import WEBASSEMBLY, write_runtime; \
		write_runtime(Path('$(@D)'), None, WEBASSEMBLY)"

test: install
	$(PYTEST) -m "not long"

test-long: install
	$(PYTEST) -m long

test-all: install
	$(PYTEST)

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# The pages of docs/results and of docs/performance.md are made of the results beside them.
results: install
	$(BIN)/python benchmarks/study_pages.py
	$(BIN)/python benchmarks/performance_page.py
