"""With 64-bit types on, wide leaves are stored bit for bit and everything else is as before."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from tier import fast_to_compile

ROOT = Path(__file__).parents[1]
SUITES = {
    "dtypes": ["tests/test_dtypes.py", "-k", "64 or 128 or layouts or container"],
    "write-back": ["tests/test_writeback.py"],
    "errors": ["tests/errors"],
    "states": ["tests/states/test_saved.py", "tests/states/test_ownership.py", "-k", "not eager"],
    "views": [f"tests/views/test_{name}.py" for name in ("bounds", "episodes", "hindsight_goals")],
    "prioritized": [f"tests/samplers/test_{name}.py" for name in ("prioritized_draws", "prioritized_update")],
    "sum tree": [f"tests/samplers/test_{name}.py" for name in ("double_float", "sum_tree", "prioritized")],
    "returns": ["tests/test_returns_accuracy.py", "tests/rollout/test_rollout.py", "-k", "not 1024"],
    "texts": ["tests/texts/test_sweep.py", "tests/texts/test_remap.py"],
    "drawing from stores": [f"tests/episodes/test_{name}.py" for name in ("reading", "sampling", "mixture", "refill")],
    "store": ["tests/episodes/test_store.py", "tests/episodes/test_writer.py", "-k", "not a_loop"],
    "contract": ["tests/contract", "-k", "single_stream or protocol"],
}


def test_every_suite_is_there():
    named = [ROOT / each for suite in SUITES.values() for each in suite if each.startswith("tests/")]
    assert [each for each in named if not each.exists()] == []


@pytest.fixture(scope="module")
def flags():
    return fast_to_compile(os.environ.get("XLA_FLAGS", ""))  # what optimizations do to values, the other tests see


@pytest.mark.long
@pytest.mark.skipif(jax.config.jax_enable_x64, reason="this is the run with 64-bit types")
@pytest.mark.parametrize("suite", SUITES)
def test_the_suite_passes_with_64_bit_types(suite, flags):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"JAX_ENABLE_X64": "1"}
    if suite != "contract":  # which reads compiled programs
        environment |= {"XLA_FLAGS": flags}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", *SUITES[suite]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
