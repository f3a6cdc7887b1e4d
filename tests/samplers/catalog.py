"""Every sampler in a configuration worth a test, the views to test them with, and lives to lead."""

import functools
import re
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from oracle import each_of
from oracle.lives import ROW, lives, stacked
from oracle.samplers import follower_of

import jaxbuffers as jb


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
    jb.FrameStack(jb.Transitions(), 3),
    jb.Sequences(2, "within", burn_in=1, period=2, time_major=True),
    jb.Episodes(4),
    jb.Sequences(3),
]


def show(value):
    """A short name for a test's id."""
    return re.sub(r" |<function |at 0x\w+>", "", repr(value))


@dataclass(frozen=True)
class Together(jb.Sampler):
    """Every sampler draws its part of the batch and is told everything, whatever becomes of the others.

    One program for all of them: compiling is what takes the time.
    """

    samplers: tuple[jb.Sampler, ...]

    takes_priority = True

    def each(self, state):
        """The samplers and what they remember."""
        return zip(self.samplers, state, strict=True)

    def init(self, windows):
        return tuple(sampler.init(windows) for sampler in self.samplers)

    def add(self, state, legal, added, turnover):
        return tuple(sampler.add(part, legal, added, turnover) for sampler, part in self.each(state))

    def draw(self, state, legal, key, batch_size):
        size, keys = batch_size // len(self.samplers), jax.random.split(key, len(self.samplers))
        draws = [sampler.draw(part, legal, k, size) for (sampler, part), k in zip(self.each(state), keys, strict=True)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws)

    def update(self, state, legal, index, priority):
        return tuple(
            sampler.update(part, legal, index, priority if sampler.takes_priority else None)
            for sampler, part in self.each(state)
        )

    def rewritten(self, state, legal, index):
        return tuple(sampler.rewritten(part, legal, index) for sampler, part in self.each(state))


def replay_of(view, samplers, length=7, streams=3, draws=6):
    """A small replay of which each of the samplers draws as many windows."""
    samplers = tuple(samplers)
    return jb.Replay(length * streams, streams, draws * len(samplers), view, Together(samplers))


def follow(replay):
    """The oracle's side of it: a follower for each sampler."""
    shape = replay.length, replay.num_streams, replay.view.required
    return [follower_of(sampler, *shape) for sampler in replay.sampler.samplers]


def cycle(replay):
    """Times are counted modulo this."""
    return 2**30 // replay.length * replay.length


def use(replay, state, index, priority, group):
    """Say that a batch was used, with priorities and with new numbers for its rows."""
    return replay.update(state, index, priority=priority, rows={"extras": {"group": group}})


def draw(replay, state, key):
    """The windows that each sampler points at: leaves ``[samplers, draws]``."""
    drawn = replay.sampler.draw(state.sampler, replay.legal(state), key, replay.batch_size)
    return jax.tree.map(lambda x: x.reshape(len(replay.sampler.samplers), -1), drawn)


def tables(replay, state):
    """How likely each sampler says the window of each row is: float32 ``[samplers, E, T]``, by age."""
    legal, shape = replay.legal(state), (replay.num_streams, replay.length)
    stream, age = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    start = legal.shift(legal.time[:, None], -1 - age)
    nothing = jnp.zeros(shape, jnp.float32)  # OnlineFirst does not say
    return jnp.stack(
        [
            nothing if isinstance(sampler, jb.OnlineFirst) else sampler.probability(part, legal, stream, start)
            for sampler, part in replay.sampler.each(state.sampler)
        ]
    )


def live(replay, rows, mask, index, priority, group, clock):
    """Live through a life; look after every step. Return the last state, and what was seen.

    The first row comes at the time ``clock``, from which the times of ``index`` count.
    """

    def step(state, inputs):
        number, rows, mask, *used = inputs
        state = use(replay, replay.add(state, rows, mask), *used)
        seen = {"draw": draw(replay, state, jax.random.key(number)), "table": tables(replay, state)}
        return state, seen | {"sampler": state.sampler, "time": state.ring.time}

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
    late = any(isinstance(sampler, jb.OnlineFirst) for sampler in replay.sampler.samplers)
    return np.array([0 if late or kind % 3 else cycle(replay) - 5 for kind in range(6)], np.int32)


@functools.cache
def lived(replay, **options):
    """The lives of a replay: the last state of each, and what was seen."""
    parts = stacked(lives_of(replay, **options))
    return each_of(functools.partial(live, replay))(*parts, clocks(replay))


def fact(state, path):
    """What a sampler's state says at a dotted path."""
    for name in path.split("."):
        state = state[int(name)] if name.isdigit() else getattr(state, name)
    return np.asarray(state)


def assert_as_followed(sampler, follower, state, probability_of, draws, roll=0):
    """The sampler's counters and probabilities are what the follower says.

    Args:
      sampler: the sampler.
      follower: its follower.
      state: what the sampler remembers.
      probability_of: a function from windows to the probabilities it gives them.
      draws: how many windows it draws.
      roll: how many slots the first row's time moves a table by slot.
    """
    for path, want in follower.facts().items():
        got = fact(state, path)
        if path.endswith("uses"):
            got = np.roll(got.reshape(follower.length, -1), -roll, axis=0).reshape(-1)
        np.testing.assert_array_equal(got, want, err_msg=f"{sampler}: {path}")
    if not isinstance(sampler, jb.OnlineFirst):
        shares = follower.shares()
        got = probability_of([*shares])
        np.testing.assert_allclose(got, [*shares.values()], rtol=3e-5, err_msg=str(sampler))
        if follower.can_draw(draws):
            np.testing.assert_allclose(np.sum(got, dtype=np.float64), 1, rtol=2e-6, err_msg=str(sampler))


def assert_lives_agree(replay, **options):
    """After every step of every life each sampler is as its oracle says; return how many batches were compared."""
    seen, samplers = jax.tree.map(np.asarray, lived(replay, **options)[1]), replay.sampler.samplers
    valid, draws = np.zeros(len(samplers), int), replay.batch_size // len(samplers)
    for i, life in enumerate(lives_of(replay, **options)):
        followers, clock = follow(replay), int(clocks(replay)[i])
        for s, step in enumerate(life.steps):
            now = jax.tree.map(lambda x, at=(i, s): x[at], seen)
            added = (now["time"] - clock) % cycle(replay)
            for n, (sampler, follower) in enumerate(zip(samplers, followers, strict=True)):
                follower.follow(step)

                def probability_of(windows, table=now["table"][n], added=added):
                    return [table[e, added[e] - 1 - t] for e, t in windows]

                part = (sampler, follower, now["sampler"][n])
                assert_as_followed(*part, probability_of, draws, clock % replay.length)
                drawn = jax.tree.map(lambda x, n=n: x[n], now["draw"])
                assert drawn.valid.all() == follower.can_draw(draws), sampler
                if drawn.valid.all():
                    start = (drawn.start - clock) % cycle(replay)
                    follower.check(list(zip(drawn.stream.tolist(), start.tolist(), strict=True)), drawn.probability)
                    valid[n] += 1
                elif not isinstance(sampler, jb.OnlineFirst):  # whose queue may still have some
                    assert not drawn.valid.any()
                    assert not drawn.probability.any()
    return dict(zip(samplers, valid.tolist(), strict=True))
