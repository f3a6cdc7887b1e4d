"""Replays to check: rows that say which they are, and states filled with them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import RowSpec

MakeRows = Callable[[int], Any]


def numbered_rows(replay: Replay, row: Any, episode: int | None = None) -> MakeRows:
    """Return a ``make_rows`` whose values say which row they are, in episodes of several lengths.

    The fields ``is_first``, ``is_last`` and ``is_terminal`` describe episodes of ``episode`` rows and
    up to two more, by default such that the view's windows fit in (for `Episodes`: such that they fit
    into its windows); every second one ends with a truncation.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=1, view=jb.Items())
    >>> numbered_rows(replay, {"x": jnp.float32(0)})(3)
    {'x': Array([6., 7.], dtype=float32)}
    """
    spec, lead = RowSpec.of(row), () if replay.num_envs is None else (replay.num_envs,)

    def make_rows(step: int) -> Any:
        stream = np.arange(replay.num_streams)
        number = step * replay.num_streams + stream
        length = (_episode(replay.view) if episode is None else episode) + stream % 3
        number_of, age = np.divmod(step, length)
        last = age == length - 1
        flags = {"is_first": age == 0, "is_last": last, "is_terminal": last & (number_of % 2 == 0)}

        def leaf(path: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
            value = flags.get(path[0] if path else "", number % (2 if dtype == np.bool_ else 120))
            full = np.broadcast_to(value.reshape(-1, *(1,) * len(shape)), (len(stream), *shape))
            return jnp.asarray(full.astype(dtype).reshape((*lead, *shape)))

        leaves = [leaf(*each) for each in zip(spec.paths, spec.shapes, spec.dtypes, strict=True)]
        return jax.tree.unflatten(spec.treedef, leaves)

    return make_rows


def filled(
    replay: Replay, row: Any, make_rows: MakeRows, steps: int = 9, prepare: Callable[..., Any] = lambda state: state
) -> ReplayState:
    """Return the state after so many steps, of which each stream left some out."""
    state = prepare(replay.init(row))
    for step in range(steps):
        state = _step(replay, state, make_rows, step)
    return state


def states(replay: Replay, row: Any, make_rows: MakeRows) -> Iterator[ReplayState]:
    """Yield the empty state, and the state after each step of more than two laps."""
    state = replay.init(row)
    yield state
    for step in range(2 * replay.length + 3):
        state = _step(replay, state, make_rows, step)
        yield state


@jax.jit
def poisoned(state: ReplayState) -> ReplayState:
    """Return the state with ones in the memory of its rows."""
    rows = (state.ring.words, state.ring.blocks)
    words, blocks = jax.tree.map(lambda x: jnp.full_like(x, 0x01010101 if x.dtype == jnp.uint32 else 1), rows)
    return replace(state, ring=replace(state.ring, words=words, blocks=blocks))


_add = jax.jit(Replay.add, static_argnums=0)


def _step(replay: Replay, state: ReplayState, make_rows: MakeRows, step: int) -> ReplayState:
    mask = jnp.asarray((step + np.arange(replay.num_streams)) % 7 != 3)
    return _add(replay, state, make_rows(step), mask.reshape(() if replay.num_envs is None else -1))


def _episode(view: Any) -> int:
    inner = view
    while hasattr(inner, "view"):
        inner = inner.view
    return max(inner.max_length - 2, 1) if hasattr(inner, "max_length") else view.span + 2
