"""Compile many small programs fast, whatever the tier; or compile as users do, whatever the tier."""

import functools

import jax
import jax.numpy as jnp
from tier import FAST_TO_COMPILE, FAST_TO_RUN, is_quick

jit = jax.jit  # whatever a test puts in its place


def _known(name, value):
    """Whether this XLA has the option: they come and go."""
    try:
        jit(lambda x: x + 1, compiler_options={name: value}).lower(jnp.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@functools.cache
def _known_options():
    return {name: value for name, value in FAST_TO_COMPILE.items() if _known(name, value)}


def quick_jit(function, **given):
    """``jax.jit`` for tests in which compiling is what takes the time: without the expensive part of it."""
    return jit(function, compiler_options=_known_options(), **given)


def each_of(function):
    """A program that calls a function with each of many cases, which lie along the first axis of the arguments.

    In the quick tier one after the other, as a program that is not batched takes a third less time to compile; in the
    long one all at once, by ``jax.vmap``.
    """

    def one_by_one(*cases):
        return jax.lax.map(lambda case: function(*case), cases)

    return quick_jit(one_by_one if is_quick() else jax.vmap(function))


def readable_jit(function, compiler_options=None, **given):
    """``jax.jit`` that gives the same text as for users, if not the same machine code."""
    name = "xla_cpu_use_fusion_emitters"
    options = {name: FAST_TO_RUN[name]} if is_quick() and name in _known_options() else {}
    return jit(function, compiler_options=options | (compiler_options or {}) or None, **given)


def users_jit(function, **given):
    """``jax.jit`` with every optimization, for tests of what they do: in the quick tier, too."""
    options = {name: FAST_TO_RUN[name] for name in _known_options()} if is_quick() else None
    return jit(function, compiler_options=options, **given)
