"""Calls that are timed: a donating scan that keeps its own state, and a jitted function called from Python."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.case import Side
from benchmarks.compiled import compiled


def shapes_of(outputs: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of what is read, sorted."""
    return tuple(sorted(x.shape for x in jax.tree.leaves(outputs)))


class Scan:
    """``steps`` iterations in one program, which updates its state in place from call to call.

    Args:
      side: whose it is.
      iterate: from the state, the step and a key to the state and the outputs. The outputs are summed, or XLA would
        delete the work.
      state: where it begins; donated.
      steps: iterations of one call.
      least: the elements of the smallest array that must not be copied.
      documented: how many such arrays the peer's documented use makes all the same.
    """

    def __init__(
        self,
        side: str,
        iterate: Callable[[Any, jax.Array, jax.Array], tuple[Any, Any]],
        state: Any,
        steps: int,
        least: int,
        documented: int = 0,
    ) -> None:
        def one(carry: tuple, step: jax.Array) -> tuple:
            state, key, total = carry
            key, now = jax.random.split(key)
            state, outputs = iterate(state, step, now)
            used = sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(outputs))
            return (state, key, total + used), None

        def scan(state: Any, key: jax.Array) -> tuple:
            return jax.lax.scan(one, (state, key, jnp.float32(0)), jnp.arange(steps))[0]

        self.side, self.state, self.key = side, state, jax.random.key(0)
        self.reads = shapes_of(jax.eval_shape(lambda: iterate(state, jnp.int32(0), self.key)[1]))
        jitted = jax.jit(scan, donate_argnums=0)
        self._program = compiled(
            side, jitted, self.state, self.key, least=least, documented=documented, held=self.state
        )

    def __call__(self) -> None:
        """Run the program and wait for it."""
        self.state, self.key, total = self._program(self.state, self.key)
        jax.block_until_ready((self.key, total))
        self.total = total

    def check(self) -> None:
        """Raise if the numbers went astray, which would change the work."""
        assert bool(jnp.isfinite(self.total)), f"{self.side}: the loop's outputs are not finite"
        assert not self.reads or float(self.total), f"{self.side}: the loop's outputs are all zero"

    def showing(self, shown: Any) -> Side:
        """Return a side that runs this."""
        return Side(self, shown, self.check, reads=self.reads)


class Call:
    """A jitted function of a state and a key called from Python, with another key every time."""

    def __init__(self, side: str, function: Callable, state: Any, keys: Any, least: int) -> None:
        self.side, self.state, self.keys, self.jitted = side, state, keys, jax.jit(function)
        batch = jax.eval_shape(function, state, next(keys))
        compiled(side, self.jitted, state, next(keys), least=least, batch=batch)

    def __call__(self) -> None:
        """Draw a batch and wait for it."""
        jax.block_until_ready(self.jitted(self.state, next(self.keys)))

    def check(self) -> None:
        """Raise if it was traced more than once."""
        assert self.jitted._cache_size() == 1, f"{self.side}: a second trace was timed"

    def showing(self, shown: Any) -> Side:
        """Return a side that runs this."""
        return Side(self, shown, self.check)
