"""Strict JAX for every test: no promotion of dtypes or ranks, 8 fake CPU devices, warnings are errors.

`JAX_ENABLE_X64=1` in the environment runs the suite with 64-bit types (see test_x64.py).
`JAXBUFFERS_TEST_PLATFORM=gpu` runs tests on an accelerator (``python -m benchmarks.accelerator --contract``).
"""

import contextlib
import gc
import math
import os
import threading
from importlib.metadata import version
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "" if "JAXBUFFERS_TEST_PLATFORM" in os.environ else "cpu")

import jax
import pytest
import tier

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

gc.disable()  # until all tests are collected

PLATFORM = os.environ.get("JAXBUFFERS_TEST_PLATFORM", "cpu")
CORE = ("jax", "jaxlib", "numpy", "flax", "chex")
TESTS_BETWEEN_SWEEPS = 150
MEMORY = 3 * 2**30  # of each worker
MAPPINGS = 35_000  # of each worker, some fifteen for each compiled program; Linux allows 65,530


def pytest_configure(config):
    """Begin the quick tier if that is what was asked for; workers are told by the environment."""
    if config.option.markexpr == "not long" and not hasattr(config, "workerinput"):
        tier.begin_quick()
    if (which := config.getoption("share", None)) is not None:
        tier.share([], which)  # so that what is no share is refused here, in one line, and not by each worker
    if tier.is_quick():
        jax.config.update("jax_traceback_in_locations_limit", 0)  # no test reads them
        jax.config.update("jax_enable_compilation_cache", False)  # there is none, but the keys would be worked out
        _share_contexts()
    if PLATFORM != "cpu" and (found := jax.default_backend()) != PLATFORM:
        raise pytest.UsageError(f"JAXBUFFERS_TEST_PLATFORM={PLATFORM}, but JAX has found {found}")


def pytest_addoption(parser):
    """One share of the tests, for machines that have no time for all: see `tier.share`."""
    parser.addoption("--share", metavar="K/N", help="run only the K-th of N shares of the tests, 1/1 for all")


def pytest_collection_modifyitems(config, items):
    """Leave out the other shares, and what an accelerator cannot hold."""
    if config.getoption("share", None) is not None:
        mine = tier.share([item.nodeid for item in items], config.option.share)
        config.hook.pytest_deselected(items=[item for item, is_mine in zip(items, mine, strict=True) if not is_mine])
        items[:] = [item for item, is_mine in zip(items, mine, strict=True) if is_mine]
    for item in items if PLATFORM != "cpu" and len(jax.devices()) < 8 else ():
        if "sharding" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason="needs 8 devices, as the fake ones of a CPU"))


def pytest_collection_finish():
    """Look for garbage less often, and not among thousands of tests, which stay: a twelfth of the time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture
def readable(monkeypatch):
    """Compile to the text that users get, in the quick tier too: for tests that read compiled programs."""
    from oracle import readable_jit  # which starts JAX

    if tier.is_quick():
        monkeypatch.setattr(jax, "jit", readable_jit)


def pytest_report_header():
    """The versions that ran, beside pytest's own."""
    return "core: " + ", ".join(f"{name} {version(name)}" for name in CORE)


def pytest_runtest_teardown(item, nextitem, _now={"ran": 0, "most": MEMORY}):  # noqa: B006, of this process
    """Forget compiled programs before they fill a small machine; many are of use to later tests.

    Not all memory that is forgotten is given back, so only what comes on top counts the next time.
    """
    _now["ran"] += 1
    full = _now["ran"] % TESTS_BETWEEN_SWEEPS == 0 and _held() > _now["most"]
    if full or (_now["ran"] % 15 == 0 and _mappings() > MAPPINGS):
        jax.clear_caches()
        gc.collect()
        _now["most"] = max(MEMORY, _held() + MEMORY // 3)


def _share_contexts(uses=100):
    """Lower many programs of a thread in one MLIR context: making one takes a fifth of the time of a small program.

    Newer versions of JAX do so themselves, for ten. The function is private: one that has another name is left alone.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.interpreters import mlir

        make, mine = mlir.make_ir_context, threading.local()

        def shared():
            mine.left = getattr(mine, "left", 0) - 1
            if mine.left < 0:
                mine.context, mine.left = make(), uses - 1
            return mine.context

        mlir.make_ir_context = shared


def _held():
    """Bytes of memory that this process holds; infinitely many where nobody says."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.inf


def _mappings():
    """How many pieces of memory this process has asked for; none where nobody says."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0
