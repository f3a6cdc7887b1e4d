"""Every legal window, one by one: it holds a row, says where it begins, and an update reaches it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Draw, Index
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.testing.filling import MakeRows, states


def check_windows(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """Every legal window shows a row, its anchor is where it begins, and a priority sent back for it is remembered.

    A window of which no row is shown could be drawn for ever: nothing that is sent back says which one it was.
    """
    for state in states(replay, row, make_rows):
        real, windows, anchors, reached = jax.tree.map(np.asarray, _look(replay, state))
        for window, anchor in zip(windows[real].tolist(), anchors[real].tolist(), strict=True):
            assert anchor[1] >= 0, f"the window of stream {window[0]} that begins at {window[1]} shows no row"
            assert anchor == window, f"the window (stream, start) {window} says in its index that it is {anchor}"
        assert not (anchors[~real, 1] >= 0).any(), "a draw that is not valid shows rows"
        lost = windows[real & ~reached].tolist()
        assert not (replay.sampler.takes_priority and lost), (
            f"priorities for the windows (stream, start) {lost} get lost"
        )


def check_can_sample(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """Whatever the key, a sample is valid if and only if can_sample() says so, for this batch size and for one."""
    for step, state in enumerate(states(replay, row, make_rows)):
        for size in {1, replay.batch_size}:
            said, valid, shown = _ask(replay, state, size, jax.random.split(jax.random.key(step), 4))
            assert (valid == said).all(), (
                f"can_sample(batch_size={size}) is {said} after {step} steps, but batch.valid is {valid}: "
                f"override Sampler.can_draw()"
            )
            assert valid.all() or not shown.any(), f"a batch of {size} that is not valid shows rows after {step} steps"


@partial(jax.jit, static_argnums=0)
def _look(replay: Replay, state: ReplayState) -> tuple[jax.Array, ...]:
    """Return of T windows of E streams: which are legal, (stream, start), the anchor, and whether priorities matter."""
    legal, length = replay.legal(state), replay.length
    stream = jnp.repeat(jnp.arange(replay.num_streams, dtype=jnp.int32), length)
    rank = jnp.tile(jnp.arange(length, dtype=jnp.int32), replay.num_streams)
    real = rank < legal.count()[stream]
    start = jnp.where(real, legal.start(stream, jnp.where(real, rank, 0)), 0)

    def one(stream: jax.Array, start: jax.Array, real: jax.Array) -> tuple[Index, jax.Array]:
        draw = Draw(stream[None], start[None], real[None].astype(jnp.float32), real[None])
        index = replay.read(state, draw, jax.random.key(0)).index
        anchor = replay.view.anchor(legal, index)
        assert anchor is not None, "view.anchor() does not know the index of its own batch"
        if not replay.sampler.takes_priority:
            return anchor, jnp.bool_(True)
        low, high = (
            jax.tree.leaves(replay.update(state, index, priority=jnp.full(1, value, jnp.float32)).sampler)
            for value in (0.5, 1000)
        )
        return anchor, jnp.any(jnp.stack([jnp.any(a != b) for a, b in zip(low, high, strict=True)]))

    anchor, reached = jax.vmap(one)(stream, start, real)
    windows, anchors = (jnp.stack(each, axis=1) for each in ((stream, start), (anchor.stream[:, 0], anchor.time[:, 0])))
    return real, windows, anchors, reached


@partial(jax.jit, static_argnums=(0, 2))
def _ask(replay: Replay, state: ReplayState, size: int, keys: jax.Array) -> tuple[jax.Array, ...]:
    batch = jax.vmap(lambda key: replay.sample(state, key, size))(keys)
    return replay.can_sample(state, size), batch.valid, batch.mask
