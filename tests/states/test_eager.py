"""Verbs called eagerly: one program each, and nothing else is different."""

import functools
import traceback

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, DtypeError, StructureError

REPLAY = jb.Replay(12, 2, 3, jb.Sequences(2), jb.Prioritized())
SAMPLERS = [
    jb.Prioritized(),
    jb.RankBased(),
    jb.Recent(horizon=4),
    jb.WithoutReplacement(),
    jb.Counted(jb.Uniform()),
    jb.OnlineFirst(jb.Uniform()),
    jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(half_life=2.0))),
]
ROW = {"x": jnp.zeros(2), "n": jnp.int32(0)}


def rows(n):
    return {"x": jnp.full((2, 2), n, jnp.float32), "n": jnp.full(2, n, jnp.int32)}


def life(replay):
    """Everything that the verbs return for a short life."""
    state, key = replay.init(ROW), jax.random.key(0)
    for n in range(8):
        state = replay.add(state, rows(n), None if n % 3 else jnp.array([True, False]))
    batch = replay.sample(state, key)
    priority = jnp.arange(1.0, 4.0) if replay.sampler.takes_priority else None
    state = replay.update(state, batch.index, priority=priority, rows={"x": batch.data["x"] + 1})
    again = replay.sample(state, key, budget(3, 5))  # another size is other operations, each compiled
    return state, batch, again, replay.get(state, batch.index), replay.age(state, batch.index), replay.size(state)


def equal(got, wanted):
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


class Heard:
    """What JAX says of what it does; a listener stays for good, as not every JAX can take one back."""

    def __init__(self):
        self.events = []
        jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: self.events.append(event))


HEARD = functools.cache(Heard)


def compilations(call):
    """How many programs a call compiles."""
    HEARD().events.clear()
    call()
    return sum("backend_compile" in event for event in HEARD().events)


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[4]), ids=lambda sampler: type(sampler).__name__)
def test_a_life_is_the_same_operation_by_operation(sampler):
    replay = jb.Replay(12, 2, 3, budget(jb.Items(), jb.Sequences(2)), sampler)
    whole = life(replay)
    with jax.disable_jit():
        chex.assert_trees_all_close(life(replay), whole, rtol=1e-6)  # a program may round probabilities once less


def test_each_verb_is_one_program_that_serves_again():
    replay = jb.Replay(14, 2, 4, jb.Sequences(2), jb.Prioritized())  # that no other test has
    state, key, another = replay.init(ROW), jax.random.key(0), jax.random.key(1)
    block, priority = rows(1), jnp.ones(4)
    assert compilations(lambda: replay.add(state, block)) == 1
    for _ in range(3):
        state = replay.add(state, block)
    assert compilations(lambda: replay.sample(state, key)) == 1
    index = replay.sample(state, key).index
    assert compilations(lambda: replay.update(state, index, priority=priority)) == 1
    assert compilations(lambda: replay.update(replay.add(state, block), index, priority=priority)) == 0
    assert compilations(lambda: replay.sample(state, another)) == 0


def test_numpy_rows_are_those_of_the_call_whatever_their_owner_does_next():
    theirs = {"x": np.ones((2, 2), np.float32), "n": np.ones(2, np.int32)}
    state = REPLAY.add(REPLAY.init(ROW), theirs)
    theirs["x"][:] = 9
    equal(state, REPLAY.add(REPLAY.init(ROW), rows(1)))


@pytest.mark.parametrize("x", [np.ones((2, 2)), np.ones((2, 2), np.int64), [[1.0, 1.0], [1.0, 1.0]]])
def test_what_jax_would_narrow_is_refused_with_its_name(x):
    with pytest.raises((DtypeError, StructureError), match="'x'"):
        REPLAY.add(REPLAY.init(ROW), rows(1) | {"x": x})


@pytest.mark.parametrize("size", [True, 1.0, 0, "1"])
def test_a_size_is_no_other_number_even_if_it_is_equal(size):
    state = REPLAY.add(REPLAY.init(ROW), rows(1))
    REPLAY.sample(state, jax.random.key(0), 1)
    with pytest.raises(ConfigurationError, match="batch_size"):
        REPLAY.sample(state, jax.random.key(0), size)


def test_errors_speak_of_the_call_alone():
    with pytest.raises(DtypeError) as caught:
        REPLAY.sample(REPLAY.init(ROW), 7)
    assert "jax.random.key(7)" in str(caught.value)
    assert not getattr(caught.value, "__notes__", [])
    assert not isinstance(caught.value.__context__, DtypeError), "it was not raised while another was handled"
    assert "program" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_the_state_given_stays_usable_and_shares_nothing_with_the_new_one():
    state = REPLAY.add(REPLAY.init(ROW), rows(1))
    new = REPLAY.add(state, rows(2))
    jax.tree.map(lambda leaf: leaf.delete(), new)
    assert int(REPLAY.size(state)) == 2


def test_functions_that_need_values_still_work():
    def by_numpy(windows):
        return jnp.asarray(np.where(np.asarray(windows.age) == 0, 0, -np.inf).astype(np.float32))

    # Of the sizes of the life above, whose operations are compiled.
    replay = jb.Replay(12, 2, 3, sampler=jb.Weighted(by_numpy, replace=True))
    state = replay.init(ROW)
    for n in range(3):
        state = replay.add(state, rows(n))
    assert replay.sample(state, jax.random.key(0)).data["n"].tolist() == [2, 2, 2]
