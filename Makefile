# Two commands do everything, set-up included: `make demo` and `make test`.
# The first interpreter that runs and is new enough; name another with `make PYTHON=...`.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo "$$p" && break; done)
BIN := .venv/bin

.PHONY: demo test test-all check check-tpu bench docs clean

demo: .venv/examples  ## Train a Dreamer agent in about five minutes, set-up included; leaves dreamer.png
	$(BIN)/python examples/dreamer.py

test: .venv/dev  ## Run the tests, doctests included, but for those that take long and prove no promise of their own
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"

test-all: .venv/dev  ## Run every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: .venv/dev  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# libtpu has an environment of its own: where it is installed, every JAX program looks for a TPU.
check-tpu:  ## Compile for TPU on any x86 machine and check XLA's own analysis
	$(MAKE) .venv-tpu/tpu-aot BIN=.venv-tpu/bin
	.venv-tpu/bin/python -m benchmarks.check_tpu

bench: .venv/bench  ## Measure against the peers; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

docs: .venv/docs  ## Build the documentation into site/, run the code of its pages, fail at any warning
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --doctree-dir build/doctrees docs site

# One stamp for each extra: .venv/dev says that the extra "dev" is installed.
.venv/% .venv-tpu/%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(@D)
	@echo "installing into $(@D), this takes a minute or two"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv .venv-tpu site
