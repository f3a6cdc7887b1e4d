"""What users of other libraries live with, one test each: flashbax's Vault, Orbax, torchrl's checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

import jaxbuffers as jb

from .same import assert_same

REPLAY = jb.Replay(8, 2, 2, jb.Items())


def after(adds, state=None):
    state = REPLAY.init(jnp.int32(0)) if state is None else state
    for i in adds:
        state = REPLAY.add(state, jnp.array([i, 100 + i], jnp.int32))
    return state


def test_opening_again_and_saving_again_duplicates_nothing(tmp_path):
    """Vault appends the whole buffer once more whenever it is opened anew (flashbax #15, #20)."""
    state = after(range(3))
    sizes = []
    for _ in range(3):
        with jb.checkpoint.Manager(tmp_path, keep=1) as manager:
            manager.save(0, state, overwrite=True)
            state = manager.restore(REPLAY.init(jnp.int32(0))).tree
            sizes.append((tmp_path / "step-000000000000.safetensors").stat().st_size)
    assert len(set(sizes)) == 1
    assert_same(state, after(range(3)))
    assert int(REPLAY.size(state)) == 6


def test_exactly_one_lap_later_everything_is_written(tmp_path):
    """Vault compares write heads, finds them equal, and writes nothing (flashbax #47)."""
    with jb.checkpoint.Manager(tmp_path) as manager:
        state = after(range(4))
        manager.save(0, state)
        lap = after(range(50, 54), state)
        manager.save(1, lap)
        assert_same(manager.restore(state).tree, lap)


def test_the_capacity_is_what_it_was(tmp_path):
    """What Vault reads has the capacity of what was written, and wraps around there (flashbax #66)."""
    jb.checkpoint.save(tmp_path / "run", after(range(2)))
    state = jb.checkpoint.restore(tmp_path / "run", REPLAY.init(jnp.int32(0))).tree
    assert int(REPLAY.size(after(range(10, 13), state))) == 8
    assert_same(after(range(10, 13), state), after([0, 1, *range(10, 13)]))


def test_a_dtype_is_never_cast(tmp_path):
    """Orbax casts to what the target has."""
    jb.checkpoint.save(tmp_path / "run", {"x": jnp.arange(3.0) + 0.5})
    for other in (jnp.int32, jnp.bfloat16, jnp.float16):
        with pytest.raises(jb.errors.DtypeError, match=r"leaf 'x': saved float32\[3\]"):
            jb.checkpoint.restore(tmp_path / "run", {"x": jnp.zeros(3, other)})


@pytest.mark.long  # quick: test_round_trip.py
def test_a_sampler_is_part_of_it(tmp_path):
    """torchrl's loses priorities and the order of draws (#2390, #3055, #4388)."""
    replay = jb.Replay(8, None, 3, jb.Items(), jb.Mix((0.5, jb.Prioritized()), (0.5, jb.WithoutReplacement())))

    def live(state):
        state = replay.add(state, jnp.arange(6, dtype=jnp.int32))
        batch = replay.sample(state, jax.random.key(0))
        return replay.update(state, batch.index, priority=jnp.array([0.5, 20.0, 3.0]))

    state = quick_jit(live)(replay.init(jnp.int32(0)))
    jb.checkpoint.save(tmp_path / "run", state)
    again = jb.checkpoint.restore(tmp_path / "run", replay.init(jnp.int32(0))).tree
    assert_same(again, state)
    sample = quick_jit(replay.sample)
    assert_same(sample(again, jax.random.key(1)), sample(state, jax.random.key(1)))


def test_empty_arrays_and_scalars_are_saved(tmp_path):
    """Orbax refuses arrays of size zero."""
    tree = {"none": jnp.zeros((0, 4), jnp.int8), "one": np.float64(2.5)}
    jb.checkpoint.save(tmp_path / "run", tree)
    assert_same(jb.checkpoint.restore(tmp_path / "run", tree).tree, tree)
