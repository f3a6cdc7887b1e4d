"""The verbs of a replay, compiled once for every configuration."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch, Index
from jaxbuffers.errors import debug_checks
from jaxbuffers.host.checks import outside_jit
from jaxbuffers.host.keys import Key
from jaxbuffers.host.programs import in_turn
from jaxbuffers.host.staged_layout import Arrays, Layout
from jaxbuffers.numerics.random_bits import split
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import paths_of


class Drawing(NamedTuple):
    """What a program is to draw.

    Attributes:
      size: B.
      batches: U, for leaves ``[U, B, ...]`` with what as many calls would draw; None for one batch, ``[B, ...]``.
      impl: the kind of the key (see `Key`).
      small: whether that is little to gather, and done on a CPU.
    """

    size: int
    batches: int | None = None
    impl: str | None = "threefry2x32"
    small: bool = False

    @property
    def options(self) -> dict[str, str] | None:
        """How to compile it."""
        return in_turn() if self.small else None


class Verbs:
    """Compiled functions of states; those that write come in two kinds, for a state that may be donated or not.

    Compiled without `debug_checks`, whatever is set: what these would raise is raised by the shell, as a named error.
    """

    @staticmethod
    @lru_cache(maxsize=64)
    def of(replay: Replay) -> "Verbs":
        """Return those of a configuration; equal configurations share them."""
        return Verbs(replay)

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.stale = jax.jit(self._stale)
        self.add: Callable[[bool], Callable] = lru_cache(partial(_writer, self._add))
        self.add_staged: Callable[[bool], Callable] = lru_cache(partial(_writer, self._add_staged))
        self.update: Callable[[bool], Callable] = lru_cache(partial(_writer, self._update))
        self.sample: Callable[..., Callable] = lru_cache(self._sampler)
        self.add_and_sample: Callable[..., Callable] = lru_cache(self._adding_sampler)

    def replaced(self, state: ReplayState, lead: tuple[int, ...], mask: Any) -> list[np.ndarray]:
        """Return the text ids in the rows that an `add` of rows with these leading axes will overwrite."""
        number = lead[0] if len(lead) > (self.replay.num_envs is not None) else 1
        if not number or int(np.asarray(state.ring.size).max()) + number <= self.replay.length:
            return []
        ids, gone = self._texts_replaced(state, np.ones(lead, bool) if mask is None else mask, number)
        outside_jit(gone)
        return [np.asarray(leaf)[np.asarray(gone)].ravel() for leaf in ids]

    def rewritten(self, state: ReplayState, index: Index, rows: Any) -> list[np.ndarray]:
        """Return the text ids that an `update` of rows will replace."""
        texts = [path for path in paths_of(rows) if path in state.spec.texts]
        if not texts:
            return []
        old, present = self.replay.get(state, index)
        outside_jit(present)
        return [np.asarray(paths_of(old)[path])[np.asarray(present)].ravel() for path in texts]

    @partial(jax.jit, static_argnums=(0, 3))
    def _texts_replaced(self, state: ReplayState, mask: jax.Array, number: int) -> tuple[list, jax.Array]:
        legal = self.replay.legal(state)
        size = legal.size
        count = jnp.sum(mask.reshape(number, -1), axis=0, dtype=jnp.int32)
        place = jnp.broadcast_to(
            jnp.arange(number, dtype=jnp.int32)[:, None], (number, len(size))
        )  # from the oldest on
        gone = place < (size + count - self.replay.length)[None]
        stream = jnp.broadcast_to(jnp.arange(len(size), dtype=jnp.int32)[None], gone.shape)
        time = legal.shift(legal.time[None], place - size[None])
        rows = paths_of(legal.read(stream, time, gone))
        return [rows[path] for path in state.spec.texts], gone

    @debug_checks(False)
    def _add(self, state: ReplayState, rows: Any, mask: Any) -> ReplayState:
        return self.replay.add(state, rows, mask)

    @debug_checks(False)
    def _add_staged(self, state: ReplayState, block: Arrays) -> tuple[ReplayState, jax.Array]:
        """Add rows as the calls would have done that brought them; return also what is there once they are read."""
        lead = () if self.replay.num_envs is None else (self.replay.num_envs,)
        rows, written, calls = Layout(state.spec, lead).read(block)
        most = jnp.iinfo(jnp.int32).max
        adds = jnp.where(state.adds > most - calls, most, state.adds + calls)
        return replace(self.replay.add(state, rows, written), adds=adds), calls

    @debug_checks(False)
    def _update(self, state: ReplayState, index: Index, priority: Any, rows: Any) -> ReplayState:
        return self.replay.update(state, index, priority=priority, rows=rows)

    def _stale(self, state: ReplayState, index: Index) -> jax.Array:
        return jnp.sum((index.time >= 0) & (self.replay.age(state, index) < 0))

    def _sampler(self, drawing: Drawing) -> Callable:
        """Return what takes a state and the words of a key, and returns a batch and the words of the next key."""
        return jax.jit(partial(self._sample, drawing), compiler_options=drawing.options)

    def _adding_sampler(self, shared: bool, drawing: Drawing) -> Callable:
        """Return what adds rows that waited, and samples: in one program, which is started and waited for once.

        It takes the words of a key, a state and a block, and returns what `add_staged` does, then what `sample` does.
        """

        def add_and_sample(words: jax.Array, state: ReplayState, block: Arrays) -> tuple[Any, ...]:
            state, read = self._add_staged(state, block)
            return state, read, *self._sample(drawing, state, words)

        return jax.jit(add_and_sample, donate_argnums=() if shared else 1, compiler_options=drawing.options)

    @debug_checks(False)
    def _sample(self, drawing: Drawing, state: ReplayState, words: jax.Array) -> tuple[Batch, jax.Array]:
        def step(key: jax.Array, _: None = None) -> tuple[jax.Array, jax.Array]:
            key, now = split(key, 2)
            return key, now

        key = Key(words, drawing.impl).whole
        if drawing.batches is None:
            key, now = step(key)
            return self.replay.sample(state, now, drawing.size), Key.of(key).words
        key, each = jax.lax.scan(step, key, length=drawing.batches)
        # Of keys of other kinds, mapped ones draw other bits than each by itself.
        several = jax.vmap if str(jax.random.key_impl(key)) == "threefry2x32" else _one_by_one
        return several(lambda now: self.replay.sample(state, now, drawing.size))(each), Key.of(key).words


def _one_by_one(function: Callable) -> Callable:
    return partial(jax.lax.map, function)


def _writer(verb: Callable, shared: bool) -> Callable:
    return jax.jit(verb, donate_argnums=() if shared else 0)
