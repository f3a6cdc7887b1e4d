# Two commands do everything, set-up included: `make demo` and `make test`.
# Each environment takes the first interpreter of its list that runs and is new enough;
# `make PYTHON=...` names the only one to take.
first = $(shell for p in $(or $(PYTHON),$(2)); do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, $(1)))' >/dev/null 2>&1 && echo "$$p" && break; done)
BIN := .venv/bin
# One worker runs a whole file, whose tests share fixtures and compiled programs; small files come last.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-oldest test-newest test-nightly mutants check check-tpu bench docs clean

demo: .venv/examples  ## Train a Dreamer agent in about five minutes, set-up included; leaves dreamer.png
	$(BIN)/python examples/dreamer.py

test: .venv/dev  ## Prove every promise once: all tests but the long ones, and doctests
	$(BIN)/python $(PYTEST) -m "not long"

test-all: .venv/dev  ## Run every test, in about forty minutes; SHARE=2/3 runs the second of three shares
	$(BIN)/python $(PYTEST) $(if $(SHARE),--share $(SHARE))

test-oldest: .venv-oldest/dev  ## The same tests on the oldest dependencies promised
	.venv-oldest/bin/python $(PYTEST) -m "not long"

test-newest: .venv-newest/dev  ## The same tests on the newest JAX, NumPy, Flax and Chex there are
	.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable .
	.venv-newest/bin/python $(PYTEST) -m "not long"

# Nightly builds where pip is told their index (PIP_EXTRA_INDEX_URL, see JAX's installation page), else the newest
# release candidates.
test-nightly: .venv-nightly/dev  ## The same tests on last night's JAX
	.venv-nightly/bin/python -m pip install --quiet --upgrade --pre jax jaxlib
	.venv-nightly/bin/python $(PYTEST) -m "not long"

mutants: .venv/dev  ## Change the library in small ways, and see whether `make test` would notice; takes an hour or two
	$(BIN)/python tests/mutation

check: .venv/dev  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-tpu: .venv-tpu/tpu-aot  ## Compile for TPU on any x86 machine and check XLA's own analysis
	.venv-tpu/bin/python -m benchmarks.check_tpu

bench: .venv/bench  ## Measure against the peers, in 20 minutes; writes docs/benchmarks.md, or prints with ONLY=name
	$(BIN)/python -m benchmarks.run $(if $(ONLY),--only $(ONLY))

docs: .venv/docs  ## Build the documentation into site/, run the code of its pages, fail at any warning
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --doctree-dir build/doctrees docs site

# An environment of its own for everything that cannot live beside the rest: other versions, and libtpu, which
# makes every JAX program look for a TPU. One stamp for each extra: .venv/dev says that the extra "dev" is installed.
# Arguments: the interpreter, which ones will do, what to tell pip.
define install
@test -x $(@D)/bin/python || test -n "$(1)" || { echo "$(@D) needs Python $(2)"; exit 1; }
test -x $(@D)/bin/python || $(1) -m venv $(@D)
@echo "installing into $(@D), this takes a minute or two"
$(@D)/bin/python -m pip install --quiet $(3) --editable ".[$*]"
touch $@
endef
pinned = $(call install,$(call first,11,python3.13 python3.12 python3.11 python3),3.11 or newer,-c constraints.txt)
oldest = $(call install,$(call first,11,python3.11 python3.12),3.11 or 3.12,-c constraints-oldest.txt)
newest = $(call install,$(call first,12,python3.13 python3.12 python3),3.12 or newer)

.venv/%: pyproject.toml constraints.txt
	$(pinned)

.venv-tpu/%: pyproject.toml constraints.txt
	$(pinned)

.venv-oldest/%: pyproject.toml constraints-oldest.txt
	$(oldest)

# Unpinned. Tools may hold back the core (Gymnax caps JAX), so the targets upgrade it once more by itself.
.venv-newest/%: pyproject.toml
	$(newest)

.venv-nightly/%: pyproject.toml
	$(newest)

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-nightly .venv-tpu site
