# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test check check-tpu bench docs clean

demo: .venv/examples  ## Train a Dreamer agent in about five minutes; leaves dreamer.png
	$(BIN)/python examples/dreamer.py

test: .venv/dev  ## Run every test, doctests included
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: .venv/dev  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-tpu: .venv/tpu-aot  ## Compile for TPU on any x86 machine and check XLA's own analysis
	$(BIN)/python -m benchmarks.check_tpu

bench: .venv/bench  ## Measure against the peers; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

docs: .venv/docs  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

# One stamp an extra: .venv/dev says that the extra "dev" is installed.
.venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv site
