"""Random configurations, and random rows to live through, from one number each."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb

LIVES = 6  # of each configuration


def tilted(windows):
    """Log-weights by age, rank, count and a stored number; some are no weights."""
    group = windows.rows.extras["group"]
    odd = jnp.select([group == -1, group == 3], [jnp.float32(-jnp.inf), jnp.float32(jnp.nan)], jnp.float32(0))
    age, rank, count = (x.astype(jnp.float32) for x in (windows.age, windows.rank, windows.count))
    return odd + jnp.where(windows.age < 6, -0.25 * age + 0.5 * rank - 0.125 * count, -jnp.inf)


def _tilted(row, age, rank, count):
    group = int(row["extras.group"])
    if group in (-1, 3) or age >= 6:
        return -np.inf
    return -0.25 * age + 0.5 * rank - 0.125 * count


tilted.twin = _tilted


def near(achieved, desired):
    """A reward that float32 holds exactly."""
    return -jnp.abs(achieved - desired) / 4


near.twin = lambda achieved, desired: -np.abs(achieved - desired) / 4

CORES = ["items", "transitions", "cross", "within", "pad", "episodes", "previous"]
SAMPLERS = [
    lambda rng, required: jb.Uniform(),
    lambda rng, required: jb.Prioritized(
        alpha=float(rng.choice([0, 0.5, 1])),
        eps=float(rng.choice([1e-3, 0.5])),
        initial="max" if rng.random() < 0.6 else 2.5,
        decay=float(rng.choice([1, 0.75])),
        stratified=bool(rng.random() < 0.5),
    ),
    lambda rng, required: jb.RankBased(alpha=float(rng.choice([0, 0.7, 1, 2]))),
    lambda rng, required: jb.Recent(horizon=required + int(rng.integers(3))),
    lambda rng, required: jb.Recent(half_life=float(rng.choice([0.5, 3]))),
    lambda rng, required: jb.ByEpisode(power=float(rng.choice([0, 0.5, 2]))),
    lambda rng, required: jb.WithoutReplacement(),
    lambda rng, required: jb.Clustered("extras.group", groups=int(rng.integers(1, 4))),
    lambda rng, required: jb.Weighted(tilted, replace=True),
    lambda rng, required: jb.Weighted(tilted),
    lambda rng, required: jb.Mix(*((share, simple(rng, required)) for share in (0.5, 0.3, 0.2))),
    lambda rng, required: jb.OnlineFirst(simple(rng, required)),
    lambda rng, required: jb.OnlineFirst(jb.Mix((0.6, simple(rng, required)), (0.4, simple(rng, required)))),
]


def simple(rng, required):
    """A sampler not made of others, for windows of so many required rows."""
    return SAMPLERS[rng.integers(10)](rng, required)


def core(kind, rng):
    """A view not made of others."""
    small = int(rng.integers(1, 5))
    if kind == "items":
        return jb.Items()
    if kind == "transitions":
        return jb.Transitions(small, gamma=0.5)
    if kind == "episodes":
        return jb.Episodes(small + 1)
    previous = kind == "previous"
    return jb.Sequences(
        length=small,
        episodes=str(rng.choice(["cross", "within", "pad"])) if previous else kind,
        burn_in=int(rng.choice([0, 0, 1, 2])),
        period=int(rng.choice([1, 1, 2, 3])),
        actions="previous" if previous else "taken",
        time_major=bool(rng.random() < 0.3),
    )


def view(kind, rng):
    """A view, now and then in a stack of frames or with other goals."""
    found = core(kind, rng)
    for _ in range(int(rng.choice([0, 0, 0, 1, 2]))):
        found = jb.FrameStack(found, int(rng.integers(1, 4)), str(rng.choice(["first", "zero"])))
    if rng.random() < 0.25:
        mode, part = str(rng.choice(["future", "final", "episode"])), float(rng.choice([0, 0.5, 1]))
        found = jb.Hindsight(found, near, mode, part, "extras.place", "extras.goal")
    if rng.random() < 0.15:
        found = jb.FrameStack(found, 2)
    return found


@dataclass(frozen=True)
class Case:
    """A configuration and what it lives through.

    Attributes:
      replay: the configuration.
      rows: leaves ``[LIVES, S, N, E, ...]``.
      mask: bool ``[LIVES, S, N, E]``.
      priority: float32 ``[LIVES, S, B]``, sent back for the windows drawn; some are no priorities.
      writes: whether numbers are written back.
      group: int32 ``[LIVES, S, B]``, the numbers, for all rows of a window.
      clock: int32 ``[LIVES]``, the time of the first row.
    """

    replay: jb.Replay
    rows: jb.Row
    mask: np.ndarray
    priority: np.ndarray
    writes: bool
    group: np.ndarray
    clock: np.ndarray


def case(number):
    """The case of a number."""
    rng = np.random.default_rng([number, 2024])
    found = view(CORES[number % len(CORES)], rng)
    sampler = SAMPLERS[number * 4 % len(SAMPLERS)](rng, found.required)
    if rng.random() < 0.5:
        sampler = jb.Counted(sampler)
    length = found.span + int(rng.choice([0, 0, 1, 2, 4]))
    streams, block = int(rng.integers(1, 4)), int(rng.choice([1, 1, min(2, length), length]))
    most = length * streams
    num_envs = None if streams == 1 and rng.random() < 0.5 else streams
    replay = jb.Replay(most, num_envs, int(rng.integers(1, min(most, 6) + 1)), found, sampler, "flat")
    steps = min(-(-4 * length // block), 40)
    mask, rows = _rows(rng, (LIVES, steps, block, streams))
    used = (LIVES, steps, replay.batch_size)
    bad = rng.choice(np.array([np.nan, np.inf, -np.inf, -1, 0], np.float32), used)
    priority = np.where(rng.random(used) < 0.1, bad, np.exp(rng.normal(0, 2, used)).astype(np.float32))
    cycle = 2**30 // length * length
    clock = np.where(rng.random(LIVES) < 0.5, 0, cycle - rng.integers(1, 3 * length, LIVES)).astype(np.int32)
    writes = bool(rng.random() < 0.3)
    return Case(replay, rows, mask, priority, writes, _groups(rng, used), clock)


def _groups(rng, shape):
    return rng.choice(np.arange(-1, 4, dtype=np.int32), shape, p=[0.1, 0.3, 0.25, 0.25, 0.1])


def _rows(rng, shape):
    """Rows of lives of several characters: how often they write, how episodes begin and end, and how that is told."""
    lead = (shape[0], 1, 1, 1)
    mask = rng.random(shape) < rng.choice([0.3, 0.7, 0.95, 1], lead)
    number = np.arange(1, 1 + int(np.prod(shape)), dtype=np.int32).reshape(shape)
    starts, ends = (rng.random(shape) < rng.choice([0, 0.1, 0.3, 0.8], lead) for _ in range(2))
    # Some tell an end by is_last alone, some by is_first alone, some say both or neither of one episode.
    tells = rng.choice([0, 1, 2], lead)
    first, last = starts & (tells != 1), ends & (tells != 2)
    follows = np.roll(last, 1, axis=1) if shape[2] == 1 else np.zeros(shape, bool)
    first = np.where(rng.random(lead) < 0.5, first | follows, first)
    extras = {
        "place": rng.integers(0, 9, shape).astype(np.float32),
        "goal": rng.integers(20, 29, shape).astype(np.float32),
        "group": _groups(rng, shape),
    }
    reward = (rng.integers(-9, 9, shape) / 4).astype(np.float32)
    terminal = last & (rng.random(shape) < 0.5)
    return mask, jb.Row(number, 1000 + number, reward, first, last, terminal, extras)


ROW = jax.tree.map(jnp.asarray, jb.Row(0, 0, 0.0, False, False, False, {"place": 0.0, "goal": 0.0, "group": 0}))
