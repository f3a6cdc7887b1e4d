"""Compile many small programs fast: the same program for XLA, without the expensive part of code generation."""

import jax
import jax.numpy as jnp

WANTED = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


def _known(name, value):
    """Whether this XLA has the option: they come and go."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(jnp.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


OPTIONS = {name: value for name, value in WANTED.items() if _known(name, value)}


def quick_jit(function, **options):
    """``jax.jit`` for tests in which compiling is what takes the time."""
    return jax.jit(function, compiler_options=OPTIONS, **options)
