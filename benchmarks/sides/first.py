"""What comes before the first step: importing, and the first compilation of each verb."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import require
from benchmarks.sides import prioritized, rows, uniform


def compilation(verb: str, alpha: float | None, envs: int, length: int) -> Contest:
    """Trace, lower and compile ``add``, ``sample`` or ``update``, as if nothing had been compiled before.

    Args:
      verb: which one.
      alpha: the exponent of priorities, or None for uniform replay.
      envs: environments.
      length: rows of each.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    updated = verb == "update"  # else all priorities are equal, and so is how often a window is drawn
    key, least = jax.random.key(0), rows.least(envs, envs * length)

    def ours() -> Side:
        sampler = jb.Uniform() if alpha is None else jb.Prioritized(alpha=alpha)
        replay, state = rows.ours(envs, envs * length, sampler)
        if not updated:
            shown: Any = uniform.drawn(lambda state, key: rows.our_pair(replay.sample(state, key)), state)
        else:
            state, shown = prioritized.our_draws(replay, state)

        def update(state: jb.ReplayState, index: jb.Index, priority: jax.Array) -> jb.ReplayState:
            return replay.update(state, index, priority=priority)

        index = jax.eval_shape(replay.sample, state, key).index
        verbs = {"add": (replay.add, rows.rows(envs, jnp.int32(0))), "sample": (replay.sample, key)}
        function, *args = (verbs | {"update": (update, index, jnp.ones(rows.PAIRS))})[verb]
        return _compiling("jaxbuffers", verb, function, state, *args, shown=shown, least=least)

    def theirs() -> Side:
        buffer, state = rows.theirs(envs, envs * length, alpha)
        if not updated:
            shown: Any = uniform.drawn(lambda state, key: rows.their_pair(buffer.sample(state, key)), state)
        else:
            state, shown = prioritized.their_draws(buffer, state)
        verbs = {"add": (buffer.add, rows.item(rows.rows(envs, jnp.int32(0)))), "sample": (buffer.sample, key)}
        if verb == "update":
            indices = jax.eval_shape(buffer.sample, state, key).indices
            verbs["update"] = buffer.set_priorities, indices, jnp.ones(rows.PAIRS)
        function, *args = verbs[verb]
        return _compiling("flashbax", verb, function, state, *args, shown=shown, least=least)

    same = prioritized.same_draws if updated else uniform.same_draws
    return Contest(ours, theirs, partial(same, envs, length), before=jax.clear_caches)


def _compiling(side: str, verb: str, function: Callable, *args: Any, shown: Any, least: int) -> Side:
    """Return a side that compiles a function of arrays like these, the first of which is the state."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    donated = () if verb == "sample" else 0
    batch = jax.eval_shape(function, *shapes) if verb == "sample" else ()
    compiled(side, jax.jit(function, donate_argnums=donated), *shapes, least=least, batch=batch, held=args[0])
    return Side(lambda: jax.jit(function, donate_argnums=donated).lower(*shapes).compile(), shown)


def imports(more: str) -> Contest:
    """Import in a new process: this library with JAX and Flax, against these two alone, or with one ``more``."""
    took: dict[str, list[float]] = {"jaxbuffers": [], more: []}

    def side(name: str) -> Side:
        code = f"import sys, jax, flax{f', {name}' * bool(name)}; print(*sys.modules)"

        def run() -> set[str]:
            began = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            took[name].append(time.perf_counter() - began)
            return set(done.stdout.split())

        return Side(run, run())

    def same(ours: set[str], theirs: set[str]) -> None:
        """Both import JAX and Flax, ours this library beside them, and the peer does not."""
        require({"jax", "flax", "jaxbuffers"} <= ours, "jaxbuffers", "modules that are not there")
        require({"jax", "flax", *([more] if more else [])} <= theirs, "the peer", "modules that are not there")
        require("jaxbuffers" not in theirs, "the peer", "imports jaxbuffers")

    def added() -> dict[str, Any]:
        seconds = statistics.median(a - b for a, b in zip(took["jaxbuffers"][2:], took[more][2:], strict=True))
        return {} if more else {"note": f"adds {seconds:.2f} s; the goal is 0.2"}

    return Contest(partial(side, "jaxbuffers"), partial(side, more), same, after=added)
