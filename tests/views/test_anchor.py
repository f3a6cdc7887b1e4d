"""Where a batch says that its windows begin: the address by which samplers know them.

That it is the beginning of each window of each small case, test_exhaustive.py and
test_exhaustive_wrapped.py say for every view.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import check, core_of, quick_jit, rows_of

import jaxbuffers as jb


def reward(achieved, desired):
    return -jnp.abs(achieved - desired)


VIEWS = [
    jb.Items(),
    jb.Transitions(3),
    jb.Sequences(3, burn_in=1),
    jb.Sequences(3, "within", actions="previous"),
    jb.Sequences(3, "pad", time_major=True),
    jb.Episodes(3),
    jb.FrameStack(jb.Transitions(), 2),
    jb.FrameStack(jb.Sequences(3), 2),
    jb.Hindsight(jb.Items(), reward, achieved="obs", desired="obs"),
    jb.FrameStack(jb.Hindsight(jb.Episodes(3), reward, achieved="obs", desired="obs"), 2),
]
every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view).split(", reward")[0])


class Listening(jb.Uniform):
    """A sampler that counts how often it was told of windows, and keeps the last ones."""

    takes_priority = True

    def init(self, windows: Any) -> Any:
        return {"told": jnp.int32(0), "time": jnp.full(4, -2, jnp.int32)}

    def update(self, state: Any, legal: Any, index: jb.Index, priority: Any) -> Any:
        return {"told": state["told"] + 1, "time": index.time}


def shape_of(view, batch):
    core = core_of(view)
    if isinstance(core, jb.Episodes):
        return (batch, core.max_length)
    if not isinstance(core, jb.Sequences):
        return (batch,)
    columns = core.burn_in + core.length
    return (columns, batch) if core.time_major else (batch, columns)


@every_view
def test_an_index_of_another_shape_has_no_anchor(view):
    replay = jb.Replay(16, 2, 4, view)
    legal = replay.legal(replay.init(jax.tree.map(lambda x: x[0], rows_of("F"))))
    shape = shape_of(view, 5)
    others = {(), (5,), (5, 3), (3, 5), (4, 5), (5, 4), (5, 1), (1, 5), (*shape, 1), (1, *shape), (5, 3, 3)} - {shape}
    for other in others:
        index = jb.Index(jnp.zeros(other, jnp.int32), jnp.ones(other, jnp.int32))
        assert view.anchor(legal, index) is None, other
    index = jb.Index(jnp.zeros(shape, jnp.int32), jnp.ones(shape, jnp.int32))
    assert view.anchor(legal, index).time.shape == (5,)


@every_view
def test_a_sampler_is_told_of_whole_batches_only(view):
    replay = jb.Replay(16, 2, 4, view, Listening())
    state = replay.init(jax.tree.map(lambda x: x[0], rows_of("F")))
    shape = shape_of(view, 4)
    index = jb.Index(jnp.zeros(shape, jnp.int32), jnp.full(shape, -1, jnp.int32))
    part = jb.Index(jnp.zeros((4, 2), jnp.int32), jnp.full((4, 2), -1, jnp.int32))
    told = quick_jit(lambda state, index: replay.update(state, index).sampler["told"])
    assert int(told(state, index)) == 1
    assert int(told(state, part)) == 0
    with pytest.raises(jb.errors.ShapeError, match="priority"):
        replay.update(state, part, priority=jnp.ones(4))


@pytest.mark.parametrize("time_major", [False, True])
def test_a_window_is_found_by_any_of_its_rows_and_not_if_all_are_masked(time_major):
    view = jb.Sequences(3, "pad", burn_in=1, actions="previous", time_major=time_major)
    replay = jb.Replay(8, None, 4, view)
    legal = replay.legal(replay.init(jax.tree.map(lambda x: x[0], rows_of("F"))))
    last = legal.cycle - 1
    times = np.array([[4, 5, 6, -1], [-1, 5, 6, 7], [-1, -1, 6, 7], [-1, -1, -1, -1], [last, 0, 1, 2], [-1, -1, 0, 1]])
    times = jnp.asarray(times.T if time_major else times, jnp.int32)
    anchor = view.anchor(legal, jb.Index(jnp.full_like(times, 3), times))
    check(anchor.time, [5, 5, 5, -1, 0, last])
    check(anchor.stream, [3] * 6)
