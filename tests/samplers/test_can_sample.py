"""can_sample says whether a sample is valid: each sampler knows what it can draw, whatever the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import each_of, filled, quick_jit, told_apart
from oracle.lives import ROW, inputs
from tier import budget, long_but

import jaxbuffers as jb

from .catalog import by_age_and_group, show


def only_new(windows):
    return jnp.where(windows.age < 2, jnp.float32(0), jnp.float32(np.nan))


def never(rows):
    return jnp.full_like(rows.action, -1)


SAMPLERS = [
    jb.Uniform(),
    jb.Prioritized(),
    jb.ByEpisode(),
    jb.WithoutReplacement(),
    jb.Recent(horizon=2),
    jb.Weighted(only_new),
    jb.Weighted(only_new, replace=True),
    jb.Clustered(never, groups=1),
    jb.Clustered("extras.group", groups=1),
    jb.Mix((0.7, jb.Uniform()), (0.3, jb.Recent(horizon=2))),
    jb.Mix((0.5, jb.Weighted(only_new)), (0.5, jb.Clustered("extras.group", groups=2))),
    jb.OnlineFirst(jb.Recent(horizon=2)),
    jb.OnlineFirst(jb.Weighted(by_age_and_group)),
    jb.OnlineFirst(jb.Clustered(never, groups=1)),
    jb.Counted(jb.OnlineFirst(jb.Mix((0.5, jb.Recent(horizon=2)), (0.5, jb.Weighted(only_new))))),
    jb.Counted(jb.Weighted(only_new)),
]
SIZES = budget((4,), (1, 4))


# The contract asks every sampler, on fewer lives.
@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[14]), ids=show)
def test_a_sample_is_valid_exactly_if_can_sample_says_so_for_every_key_and_batch_size(sampler):
    """Random streams with one-row episodes, masks, groups that are none, and batches that are used."""
    replay = jb.Replay(10, 2, 2, jb.Transitions(), sampler)
    parts = [inputs("mixed", 5, 2, 1, 12, seed) for seed in range(24)]
    rows, mask = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)

    def step(state, row):
        rows, mask = jax.tree.map(lambda x: x[0], row)
        state = replay.add(state, rows, mask)
        keys = jax.random.split(jax.random.key(0), 3)
        said = jnp.stack([replay.can_sample(state, size) for size in SIZES])
        batches = [jax.vmap(lambda key, size=size: replay.sample(state, key, size))(keys) for size in SIZES]
        valid = jnp.stack([batch.valid for batch in batches])
        shown = jnp.stack([batch.mask.any(axis=1) for batch in batches])
        index = jax.tree.map(lambda x: x[0], batches[0].index)
        return replay.update(state, index), (said, valid, shown)

    run = each_of(lambda rows, mask: jax.lax.scan(step, replay.init(ROW), (rows, mask))[1])
    said, valid, shown = map(np.asarray, run(rows, mask))
    np.testing.assert_array_equal(valid, np.broadcast_to(said[..., None], valid.shape))
    np.testing.assert_array_equal(shown, valid)
    assert not said.all(), "the test shows nothing"
    assert said.any() or sampler == jb.Clustered(never, groups=1), "the test shows nothing"


def after(sampler, first, **options):
    """A replay of transitions after rows with these flags."""
    replay = jb.Replay(8, None, 2, jb.Transitions(), sampler, **options)
    return replay, filled(replay, told_apart(len(first), first=np.flatnonzero(first)))


def test_nothing_can_be_sampled_if_no_window_begins_within_the_horizon():
    first = [1, 0, 0, 1, 1]
    replay, state = after(jb.Recent(horizon=2), first)
    assert int(replay.count(state)) == 2
    assert not replay.can_sample(state)
    replay, state = after(jb.Recent(horizon=2), [*first, 0])
    assert replay.can_sample(state)


def test_as_many_windows_are_needed_as_the_batch_has_if_none_may_come_twice():
    replay, state = after(jb.Weighted(only_new), [1, 0, 0])
    assert [bool(replay.can_sample(state, size)) for size in (1, 2)] == [True, False]
    assert not replay.can_sample(state)  # of two, by default
    with pytest.raises(jb.errors.ShapeError, match="9 different windows cannot be drawn from a ring of 8 rows"):
        replay.can_sample(state, 9)


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_impossible_batch_sizes_are_refused(size):
    replay, state = after(jb.Uniform(), [1, 0])
    with pytest.raises(jb.errors.ConfigurationError, match="batch_size"):
        replay.can_sample(state, size)


def test_a_conditional_update_trains_on_valid_batches_only_alone_and_under_vmap():
    replay = jb.Replay(8, None, 2, jb.Transitions(), jb.Recent(horizon=2))
    rows = jax.tree.map(lambda x: x[:, 0], told_apart(7, first=[0, 3, 4]))

    def train(state, key):
        return replay.sample(state, key).data.obs.min()

    def step(state, row):
        state = replay.add(state, row)
        key = jax.random.key(0)
        seen = jax.lax.cond(replay.can_sample(state), train, lambda state, key: jnp.int32(-1), state, key)
        return state, seen

    def run(rows):
        return jax.lax.scan(step, replay.init(jax.tree.map(lambda x: x[0], rows)), rows)[1]

    shifted = rows.replace(is_first=np.roll(rows.is_first, 1))
    both = jax.tree.map(lambda *x: np.stack(x), rows, shifted)
    alone = np.stack([quick_jit(run)(each) for each in (rows, shifted)])
    np.testing.assert_array_equal(alone, quick_jit(jax.vmap(run))(both))
    # Observations count from 1: none is 0, as in a batch that is not valid.
    assert (alone != 0).all()
    assert (alone[0] == -1).tolist() == [True, False, False, True, True, False, False]
