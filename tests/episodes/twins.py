"""A store and a replay that hold the same episodes: each stream of the replay has one of them, whole."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from oracle import quick_jit

import jaxbuffers as jb

LENGTHS = (5, 1, 9, 2, 6, 4, 1, 3)
CUT = 5  # the number of an episode whose last row never came
ROW = jb.Row(
    obs={
        "image": np.zeros((6, 50), np.uint8),
        "depth": np.zeros(3, np.float32),
        "place": np.zeros(2, np.float32),
        "goal": np.zeros(2, np.float32),
    },
    action=np.int32(0),
    reward=np.float32(0),
    is_first=np.bool_(False),
    is_last=np.bool_(False),
    is_terminal=np.bool_(False),
    extras=(np.zeros(3, ml_dtypes.bfloat16), np.zeros((), np.int8)),
)


def episode(number, length):
    """Rows of random bits, NaN of all kinds among them, but for the flags."""
    random = np.random.default_rng((number, length))

    def leaf(x):
        bits = random.integers(0, 256, (length, *np.shape(x), np.dtype(x.dtype).itemsize), np.uint8)
        return np.ascontiguousarray(bits).view(x.dtype)[..., 0]

    rows = jax.tree.map(leaf, ROW)
    last = (np.arange(length) == length - 1) & (number != CUT)
    reward = random.normal(size=length).astype(np.float32)
    goals = {name: random.normal(size=(length, 2)).astype(np.float32) for name in ("place", "goal")}
    flags = {"is_first": np.arange(length) == 0, "is_last": last, "is_terminal": last & (number % 2 == 0)}
    return rows.replace(obs=rows.obs | goals, reward=reward, **flags)


def new_store(row=ROW, **given):
    """A store whose ids are not the places of its episodes."""
    store = jb.EpisodeStore(row=row, **given)
    rows = jax.tree.map(lambda x: np.ones((1, *x.shape), x.dtype), row)
    store.delete([store.add_episode(rows) for _ in range(3)])
    return store


class Twins(NamedTuple):
    store: jb.EpisodeStore
    replay: jb.Replay
    state: object
    ids: np.ndarray  # of the episode in each stream


def replay_with(view, episodes, row=ROW):
    """A replay whose streams hold one episode each, and every row of it within reach."""
    lengths = [len(jax.tree.leaves(rows)[0]) for rows in episodes]
    rows_kept = max(max(lengths) + view.history, view.span)
    replay = jb.Replay(rows_kept * len(lengths), len(lengths), 2, view)
    longest = max(lengths)

    def block(*leaves):
        padded = [np.concatenate([x, np.zeros((longest - len(x), *x.shape[1:]), x.dtype)]) for x in leaves]
        return np.stack(padded, axis=1)

    rows = jax.tree.map(block, *episodes)
    mask = np.arange(longest)[:, None] < np.array(lengths)[None]
    return replay, quick_jit(jb.Replay.add, static_argnums=0)(replay, replay.init(row), rows, mask)


def twins(view, lengths=LENGTHS, store=None):
    """The two, with episodes of these lengths."""
    episodes = [episode(number, length) for number, length in enumerate(lengths)]
    store = new_store() if store is None else store
    ids = []
    with store.writer() as writer:
        for number, rows in enumerate(episodes):
            if number in (CUT, CUT + 1):  # whose first row ends the one before
                ids += writer.add(rows).tolist()
            else:
                ids.append(store.add_episode(rows))
    ids = np.array(ids)
    return Twins(store, *replay_with(view, episodes), ids)


def legal_windows(replay, state):
    """Every legal window of a replay: streams and starts, by stream and then by age."""
    shape = replay.num_streams, replay.length

    def ranked(state):
        legal = replay.legal(state)
        stream, rank = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
        return legal.count(), legal.start(stream, rank)

    count, start = map(np.asarray, quick_jit(ranked)(state))
    stream = np.repeat(np.arange(len(count)), count).astype(np.int32)
    return stream, np.concatenate([each[:number] for each, number in zip(start, count, strict=True)])


def same(ours, theirs):
    """Assert that two pytrees are equal bit for bit, types of arrays included."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        np.testing.assert_array_equal(*(np.atleast_1d(np.asarray(z)).view(np.uint8) for z in (x, y)))


FLAGGED = {"t": np.int32(0), "is_first": np.bool_(False), "is_last": np.bool_(False)}


def flagged_store(lengths, **columns):
    """A store of episodes of these lengths, whose rows count from 0 on."""
    store = new_store(FLAGGED)
    for i, length in enumerate(lengths):
        t = np.arange(length, dtype=np.int32)
        metadata = {name: column[i] for name, column in columns.items()}
        store.add_episode({"t": t, "is_first": t == 0, "is_last": t == length - 1}, metadata)
    return store
