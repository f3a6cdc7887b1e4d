"""Every sampler in a configuration worth a test, the views to test them with, and lives to lead."""

import functools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from oracle import quick_jit
from oracle.lives import ROW, lives, stacked
from oracle.samplers import follower_of

import jaxbuffers as jb

DRAWS = 6


def by_age_and_group(windows):
    """Log-weights, of which some are no numbers."""
    group = windows.rows.extras["group"]
    odd = jnp.select([group == -1, group == 2, group == 3], [-jnp.inf, jnp.nan, jnp.inf], 0.0)
    slope = -0.3 * windows.age.astype(jnp.float32) + 0.2 * windows.rank.astype(jnp.float32)
    return slope - 0.1 * windows.count.astype(jnp.float32) + odd


def _by_age_and_group(place):
    odd = {-1: -np.inf, 2: np.nan, 3: np.inf}.get(place.group, 0.0)
    return -0.3 * place.age + 0.2 * place.rank - 0.1 * place.count + odd


by_age_and_group.twin = _by_age_and_group

INDEPENDENT = [  # their draws are independent of each other
    jb.Prioritized(alpha=0.5, eps=0.1, stratified=False),
    jb.RankBased(),
    jb.Recent(horizon=4),
    jb.Recent(half_life=2.5),
    jb.ByEpisode(power=0.5),
    jb.Weighted(by_age_and_group, replace=True),
    jb.Clustered("extras.group", groups=2),
    jb.Counted(jb.Recent(half_life=1)),
]
SAMPLERS = [
    *INDEPENDENT,
    jb.WithoutReplacement(),
    jb.Weighted(by_age_and_group),
    jb.OnlineFirst(jb.RankBased(alpha=2)),
    jb.Mix((0.5, jb.RankBased()), (0.3, jb.Recent(horizon=5)), (0.2, jb.Clustered("extras.group", groups=3))),
    jb.Counted(jb.WithoutReplacement()),
]
VIEWS = [
    jb.Items(),
    jb.Transitions(2, gamma=0.5),
    jb.Sequences(2, "within", burn_in=1, period=2, time_major=True),
    jb.Sequences(3, "pad"),
    jb.Episodes(4),
    jb.Sequences(3),
    jb.FrameStack(jb.Transitions(), 3),
]


def show(value):
    """A short name for a test's id."""
    return re.sub(r" |<function |at 0x\w+>", "", repr(value))


def replay_of(view, sampler, length=7, streams=3):
    """A small replay."""
    return jb.Replay(length * streams, streams, DRAWS, view, sampler)


def follow(replay):
    """The oracle's side of it."""
    return follower_of(replay.sampler, replay.length, replay.num_streams, replay.view.required)


def cycle(replay):
    """Times are counted modulo this."""
    return 2**30 // replay.length * replay.length


def use(replay, state, index, priority, group):
    """Say that a batch was used, with priorities where they are taken and new numbers for its rows."""
    priority = priority if replay.sampler.takes_priority else None
    return replay.update(state, index, priority=priority, rows={"extras": {"group": group}})


def look(replay, state, key, count=DRAWS):
    """What the sampler would draw, and how likely it says each row's window is, ``[E, T]`` by age."""
    legal, sampler, shape = replay._legal(state), replay.sampler, (replay.num_streams, replay.length)
    stream, age = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    start = legal.windows.ring.shift(state.ring.time[:, None], -1 - age)
    draw, table = sampler.draw(state.sampler, legal, key, count), jnp.zeros(shape, jnp.float32)
    if not isinstance(sampler, jb.OnlineFirst):
        table = sampler.probability(state.sampler, legal, stream.reshape(-1), start.reshape(-1)).reshape(shape)
    return {"draw": draw, "table": table, "sampler": state.sampler, "time": state.ring.time}


def live(replay, rows, mask, index, priority, group, clock):
    """Live through a life; look after every step. Return the last state, and what was seen.

    The first row comes at the time ``clock``, from which the times of ``index`` count.
    """

    def step(state, inputs):
        number, rows, mask, *used = inputs
        state = use(replay, replay.add(state, rows, mask), *used)
        return state, look(replay, state, jax.random.key(number))

    state = replay.init(ROW)
    index = jb.Index(index.stream, jnp.where(index.time >= 0, (index.time + clock) % cycle(replay), -1))
    state = replace(state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, clock)))
    inputs = (jnp.arange(len(mask), dtype=jnp.int32), rows, mask, index, priority, group)
    return jax.lax.scan(step, state, inputs)


def lives_of(replay, **options):
    """One life of every kind."""
    return lives(replay.view, length=replay.length, streams=replay.num_streams, **options)


def clocks(replay):
    """When the first row of each of six lives comes: in some just before the clock wraps."""
    late = isinstance(replay.sampler, jb.OnlineFirst)  # it counts free rows from time 0 on
    return np.array([0 if late or kind % 3 else cycle(replay) - 5 for kind in range(6)], np.int32)


@functools.cache
def lived(replay, **options):
    """The lives of a replay: the last state of each, and what was seen."""
    parts = stacked(lives_of(replay, **options))
    return quick_jit(jax.vmap(functools.partial(live, replay)))(*parts, clocks(replay))


def fact(state, path, replay, clock):
    """What a sampler's state says at a dotted path."""
    for name in path.split("."):
        state = state[int(name)] if name.isdigit() else getattr(state, name)
    if not path.endswith("uses"):
        return np.asarray(state)
    # A table by slot, which the first row's time shifts.
    return np.roll(state.reshape(replay.length, -1), -(clock % replay.length), axis=0).reshape(-1)


def assert_lives_agree(replay, **options):
    """After every step of every life the sampler is as its oracle says; return how many batches were compared."""
    seen, valid = jax.tree.map(np.asarray, lived(replay, **options)[1]), 0
    for i, life in enumerate(lives_of(replay, **options)):
        follower, clock = follow(replay), int(clocks(replay)[i])
        for s, step in enumerate(life.steps):
            now = jax.tree.map(lambda x, at=(i, s): x[at], seen)
            follower.follow(step)
            for path, want in follower.facts().items():
                np.testing.assert_array_equal(fact(now["sampler"], path, replay, clock), want, err_msg=path)

            if not isinstance(replay.sampler, jb.OnlineFirst):
                shares, added = follower.shares(), (now["time"] - clock) % cycle(replay)
                got = {(e, t): now["table"][e, added[e] - 1 - t] for e, t in shares}
                np.testing.assert_allclose([*got.values()], [*shares.values()], rtol=3e-5)
                if follower.can_draw(DRAWS):
                    np.testing.assert_allclose(np.sum([*got.values()], dtype=np.float64), 1, rtol=2e-6)

            draw = now["draw"]
            assert draw.valid.all() == draw.valid.any() == follower.can_draw(DRAWS)
            if draw.valid.all():
                start = (draw.start - clock) % cycle(replay)
                follower.check(list(zip(draw.stream.tolist(), start.tolist(), strict=True)), draw.probability)
                valid += 1
            elif not isinstance(replay.sampler, jb.OnlineFirst):
                assert not draw.probability.any()
    return valid
