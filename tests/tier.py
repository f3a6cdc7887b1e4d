"""How much a test does: enough to prove its promise in the quick tier, far more where the long tests run too.

`make test` is the quick tier: ``pytest -m "not long"``. Any other run does all there is. Most of the time goes into
compiling small programs, so the quick tier has XLA leave out the expensive part of code generation.
"""

import os
import subprocess
import sys
import zlib
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
VARIABLE = "JAXBUFFERS_TESTS"  # tells workers and other processes
FAST_TO_COMPILE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
FAST_TO_RUN = {  # as XLA has them if nobody says anything
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def is_quick() -> bool:
    """Whether this is a run of the quick tier."""
    return os.environ.get(VARIABLE) == "quick"


def budget(quick: T, long: T) -> T:
    """Choose the size of a test: examples, draws, steps or cases."""
    return quick if is_quick() else long


def long_but(values: Sequence[Any], quick: Collection[int]) -> list[Any]:
    """Parameters of a test, long but for those at the places ``quick``: tuples are for several names at once."""
    several = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=() if i in quick else pytest.mark.long) for i, each in enumerate(several)]


def share(names: Sequence[str], which: str) -> list[bool]:
    """Which tests belong to a share, ``"K/N"``: the N of them have each test once, whatever else there is."""
    number, _, of = which.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise pytest.UsageError(f"--share takes K/N with K from 1 to N, such as 2/4; got {which}")
    return [zlib.crc32(name.encode()) % int(of) == int(number) - 1 for name in names]


def begin_quick() -> None:
    """Make this process, and those that it starts, a run of the quick tier."""
    if is_quick():
        return
    os.environ[VARIABLE] = "quick"
    os.environ["XLA_FLAGS"] = fast_to_compile(os.environ.get("XLA_FLAGS", ""))


def fast_to_compile(given: str) -> str:
    """Add to ``XLA_FLAGS`` those with which a new process compiles fast, as far as its XLA has them."""
    options = dict(FAST_TO_COMPILE)
    while options:
        flags = " ".join([given, *(f"--{name}={str(value).lower()}" for name, value in options.items())])
        unknown = _unknown(flags)
        if not unknown & set(options):
            return flags
        options = {name: value for name, value in options.items() if name not in unknown}
    return given


def _unknown(flags: str) -> set[str]:
    """Options that this XLA does not have: they come and go, and it ends a process that gives it one."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return {name for name in FAST_TO_COMPILE if done.returncode and name in done.stderr}
