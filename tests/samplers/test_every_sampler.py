"""Every sampler against its oracle, over random lives: after every step each window is as likely as the rules say.

Lives have masks, blocks of rows, streams of different ages, one-step episodes, laps of the ring, and a clock that
wraps; windows are used when they are gone, when they were never legal, twice in a batch, and with bad priorities.
"""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from oracle import fits, quick_jit
from oracle.lives import ROW, stacked
from tier import budget, long_but

import jaxbuffers as jb

from .catalog import (
    INDEPENDENT,
    SAMPLERS,
    VIEWS,
    Together,
    assert_lives_agree,
    clocks,
    cycle,
    draw,
    follow,
    live,
    lived,
    lives_of,
    replay_of,
    show,
    use,
)

# OnlineFirst cannot be given a clock that is about to wrap: it counts its free rows from time 0 on.
LATE = tuple(sampler for sampler in SAMPLERS if isinstance(sampler, jb.OnlineFirst))
# In the quick tier these are seen inside of `Counted` and `Mix` alone, and `Weighted` with replacement.
INSIDE = budget((*INDEPENDENT[1:4], INDEPENDENT[6], jb.WithoutReplacement(), SAMPLERS[9]), ())
EARLY = tuple(sampler for sampler in SAMPLERS if sampler not in (*LATE, *INSIDE))


# One view is enough for the quick tier: samplers see windows, and not what is read of them.
@pytest.mark.parametrize("samplers", [EARLY, LATE], ids=["clock-wraps", "clock-at-0"])
@pytest.mark.parametrize("view", long_but(VIEWS, quick=[0]), ids=show)
def test_every_window_is_as_likely_as_the_rules_say(view, samplers):
    compared = assert_lives_agree(replay_of(view, samplers))
    for sampler, batches in compared.items():
        assert batches > 15 or isinstance(view, jb.Episodes), f"the test shows nothing about draws of {sampler}"


def pooled(counts, null):
    """Counts and their expectation, with all cells that expect fewer than 20 made one."""
    small = counts.sum() * null < 20
    assert not counts[null == 0].any()
    if not small.any():
        return counts, null
    keep = [*np.flatnonzero(~small)]
    counts, null = (np.append(x[keep], x[small].sum()) for x in (counts, null))
    return (counts, null) if null[-1] * counts.sum() > 20 else (counts[:-1], null[:-1] / null[:-1].sum())


def with_samplers(replay, state, some):
    """The state of a replay that has only some of the samplers."""
    return replace(state, sampler=state.sampler[some], made_by=replay.init(ROW).made_by)


@pytest.mark.long  # quick: the file of each sampler
def test_independent_draws_are_as_frequent_as_they_are_likely():
    replay, count = replay_of(VIEWS[0], EARLY), 30_000
    many = replay_of(VIEWS[0], INDEPENDENT, draws=count)

    def draw_many(state, key):
        return draw(many, with_samplers(many, state, slice(len(INDEPENDENT))), key)

    assert EARLY[: len(INDEPENDENT)] == tuple(INDEPENDENT)
    draws = quick_jit(jax.vmap(draw_many))(lived(replay)[0], jax.random.split(jax.random.key(11), 6))
    draws, tested = jax.tree.map(np.asarray, draws), dict.fromkeys(INDEPENDENT, 0)
    for i, life in enumerate(lives_of(replay)):
        for n, (sampler, follower) in enumerate(zip(INDEPENDENT, follow(many), strict=True)):
            for step in life.steps:
                follower.follow(step)
            shares = follower.shares()
            if len(shares) < 3 or sorted(shares.values())[-2] < 0.05:
                continue  # nothing to tell apart
            at = {window: cell for cell, window in enumerate(shares)}
            start = (draws.start[i, n] - clocks(replay)[i]) % cycle(replay)
            cells = [at[window] for window in zip(draws.stream[i, n].tolist(), start.tolist(), strict=True)]
            counts, null = pooled(np.bincount(cells, minlength=len(at)), np.array([*shares.values()]))
            never = np.where(np.arange(len(null)) == np.argmax(null), 0, null)
            order, moved = np.argsort(null), null.copy()
            moved[order[-1]], moved[order[0]] = 0.75 * null[order[-1]], null[order[0]] + 0.25 * null[order[-1]]
            fits(counts, null, {"the likeliest never": never / never.sum(), "a quarter of one to another": moved})
            tested[sampler] += 1
    assert min(tested.values()) >= 3


def assert_equal_but_for_rounding(one, other):
    for got, want in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=2e-6 if got.dtype == np.float32 else 0)


@pytest.mark.long  # quick: tests/test_vmap.py, of one sampler
def test_one_life_alone_equals_the_same_among_many_under_vmap():
    replay = replay_of(VIEWS[0], EARLY)
    alone = quick_jit(functools.partial(live, replay))
    inputs = (*stacked(lives_of(replay)), clocks(replay))
    for i in range(6):
        one, other = (jax.tree.map(lambda x, i=i: x[i], both) for both in (inputs, lived(replay)))
        assert_equal_but_for_rounding(alone(*one), other)


@pytest.mark.long  # quick: tests/checkpoint/test_round_trip.py
def test_used_states_that_were_saved_and_loaded_draw_the_same():
    replay = replay_of(VIEWS[0], EARLY)
    state = jax.tree.map(lambda x: x[0], lived(replay)[0])
    saved = serialization.msgpack_serialize(serialization.to_state_dict(state))
    loaded = serialization.from_state_dict(replay.init(ROW), serialization.msgpack_restore(saved))
    jax.tree.map(np.testing.assert_array_equal, loaded, state)
    sample, key = quick_jit(functools.partial(draw, replay)), jax.random.key(5)
    first, again, other = (sample(x, k) for x, k in ((state, key), (loaded, key), (state, jax.random.key(6))))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert first.valid.all()
    assert (first.start != other.start).any(axis=1).all(), "another key gives other windows"


@pytest.mark.long  # tests/states/test_eager.py asks it of one sampler
def test_eager_verbs_do_what_compiled_ones_do_to_a_used_state():
    # The contract suite compares eager samples of every sampler; here are the other verbs of one.
    replay, many = (replay_of(VIEWS[0], samplers) for samplers in (SAMPLERS[6:7], EARLY))
    rows, mask, *used = jax.tree.map(lambda x: jnp.asarray(x[0, 3]), stacked(lives_of(many)))
    state = jax.tree.map(lambda x: x[1], lived(many)[0])
    state = with_samplers(replay, state, slice(6, 7))
    assert replay.sampler == Together((jb.Clustered("extras.group", groups=2),))
    want = quick_jit(lambda state: use(replay, replay.add(state, rows, mask), *used))(state)
    assert_equal_but_for_rounding(use(replay, replay.add(state, rows, mask), *used), want)
    with jax.disable_jit():
        assert_equal_but_for_rounding(use(replay, replay.add(state, rows, mask), *used), want)
