"""Programs for loops in Python: small ones, whose kernels are not worth another thread."""

from functools import lru_cache

import jax
import numpy as np

SMALL = 2**18  # bytes of a batch; to gather more than that, two cores are faster than one
_IN_TURN = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


@lru_cache
def in_turn() -> dict[str, str] | None:
    """Return options for ``jax.jit`` with which a program on CPU runs its kernels one after the other.

    By default XLA arranges them so that many may run at once, and wakes up other threads for them. That takes longer
    than the kernels of a small batch do (``docs/decisions/0023-host-staging.md``). None where XLA has no such option,
    or where programs do not run on the CPU.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=_IN_TURN).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:  # options come and go
        return None
    return _IN_TURN
