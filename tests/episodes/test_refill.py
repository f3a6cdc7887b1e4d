"""A ring refilled from a store, and rows that go to both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import quick_jit
from tier import budget

import jaxbuffers as jb
from jaxbuffers.episodes import Tee, refill
from jaxbuffers.errors import ConfigurationError

from .twins import FLAGGED, episode, flagged_store, legal_windows, new_store, same


def streams_of(replay, state):
    """The rows of each stream, oldest first: (t, is_first, is_last)."""

    def read(state):
        legal = replay.legal(state)
        time = legal.time[:, None] + jnp.arange(-replay.length, 0, dtype=jnp.int32)[None]  # zeros before the first row
        stream = jnp.broadcast_to(jnp.arange(replay.num_streams, dtype=jnp.int32)[:, None], time.shape)
        return legal.size, legal.read(stream, time)

    size, rows = quick_jit(read)(state)
    found = []
    for stream, held in enumerate(size.tolist()):
        kept = (np.asarray(rows[k])[stream, replay.length - held :].tolist() for k in ("t", "is_first", "is_last"))
        found.append(list(zip(*kept, strict=True)))
    return found


def oracle(lengths, streams, room):
    """Which episodes go where, by the words of the documentation."""
    left, held = [room] * streams, [[] for _ in range(streams)]
    for number in reversed(range(len(lengths))):
        most = left.index(max(left))
        if left[most] < lengths[number]:
            break
        left[most] -= lengths[number]
        held[most].insert(0, number)
    return held


@settings(max_examples=budget(5, 300), deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    streams=st.sampled_from(budget([None, 3], [None, 1, 3])),
    room=st.sampled_from(budget([9], [6, 9])),
    at_once=st.sampled_from([1, 30, 2**24]),
)
def test_the_newest_episodes_go_in_whole_and_in_order(lengths, streams, room, at_once):
    store, count = flagged_store(lengths), streams or 1
    replay = jb.Replay(room * count, streams)
    held, refill.BYTES = refill.BYTES, at_once
    try:
        refilled = store.refill(replay)
    finally:
        refill.BYTES = held
    wanted = oracle(lengths, count, room)
    kept = sorted(number for numbers in wanted for number in numbers)
    assert kept == list(range(len(lengths) - len(kept), len(lengths)))
    assert (refilled.episodes, refilled.left_out) == (len(kept), len(lengths) - len(kept))
    assert refilled.rows == sum(lengths[number] for number in kept) == int(replay.size(refilled.state))
    rows = [[(t, t == 0, t == lengths[n] - 1) for n in numbers for t in range(lengths[n])] for numbers in wanted]
    assert streams_of(replay, refilled.state) == rows


def test_what_was_refilled_is_read_as_before_bit_for_bit():
    store, rows = new_store(), [episode(number, 3 + number) for number in range(4)]
    ids = [store.add_episode(each) for each in rows]
    replay = jb.Replay(40, 2, view=jb.Episodes(8), sampler=jb.Prioritized())
    refilled = store.refill(replay, where=lambda columns: columns["id"] != ids[1])
    assert refilled.episodes == 3
    stream, start = legal_windows(replay, refilled.state)
    read = quick_jit(lambda state, *window: replay.read(state, jb.Draw.of(*window), jax.random.key(0)))
    batch = jax.tree.map(np.asarray, read(refilled.state, stream, start))
    seen = batch.data.length.tolist()
    for i, length in enumerate(seen):
        same(jax.tree.map(lambda x, i=i, n=length: x[i, :n], batch.data.rows), rows[length - 3])
    assert sorted(seen) == [3, 5, 6]
    assert bool(replay.can_sample(refilled.state))


def test_a_ring_too_small_for_the_newest_episode_is_refused():
    store = flagged_store([2, 5])
    with pytest.raises(ConfigurationError, match=r"newest episode has 5 rows.*at least 10"):
        store.refill(jb.Replay(8, 2))
    assert store.refill(jb.Replay(8, 2), where=np.array([True, False])).episodes == 1
    none = store.refill(jb.Replay(8, 2), where=np.zeros(2, np.bool_))
    assert (none.episodes, none.rows, none.left_out) == (0, 0, 0)
    with pytest.raises(ConfigurationError, match="replay must be a Replay"):
        store.refill(store)


def test_rows_go_to_the_ring_and_to_the_store():
    row = {"obs": jb.text, "x": np.float32(0), "is_first": np.bool_(False), "is_last": np.bool_(False)}
    store = jb.EpisodeStore(row=row)
    buffer = jb.HostReplay(jb.Replay(12, 2), row, table=store.texts)
    with store.writer(num_envs=2) as writer:
        tee = Tee(buffer, writer)
        for t in range(5):
            first, last = np.array([t in (0, 3), t == 0]), np.array([t == 2, t == 4])
            tee.insert(obs=[f"a{t}", f"b{t}"], x=np.float32([t, 10 + t]), is_first=first, is_last=last)
        tee.add(
            {
                "obs": ["skipped", "c"],
                "x": np.float32([99, 20]),
                "is_first": np.array([True, True]),
                "is_last": np.zeros(2, bool),
            },
            np.array([False, True]),
        )
        before = len(buffer), writer.open_rows.tolist()
        with pytest.raises(jb.errors.StructureError):
            tee.insert(obs=["a", "b"], x=[1, 2])
        assert (len(buffer), writer.open_rows.tolist()) == before == (11, [2, 1])
    episodes = [(e.rows["x"].tolist(), store.texts.lookup(e.rows["obs"])) for e in store]
    assert episodes == [
        ([0, 1, 2], ["a0", "a1", "a2"]),
        ([10, 11, 12, 13, 14], [f"b{t}" for t in range(5)]),
        ([3, 4], ["a3", "a4"]),
        ([20], ["c"]),
    ]
    # What the ring holds is what the store holds: another ring can be made of it, with texts.
    other = jb.HostReplay(jb.Replay(30, 3), row, table=store.texts)
    other.state = store.refill(other.replay).state
    assert len(other) == len(buffer) == 11
    assert set(other.sample(200).text("obs")) == set(buffer.sample(200).text("obs"))


def test_rows_that_the_store_cannot_take_are_not_in_the_ring_either(monkeypatch):
    store = jb.EpisodeStore(row=FLAGGED)
    buffer = jb.HostReplay(jb.Replay(8, None), FLAGGED)
    writer = store.writer()
    tee = Tee(buffer, writer)
    tee.insert(t=0, is_first=True, is_last=False)

    def full(*_):
        raise jb.errors.StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_commit", full)
        with pytest.raises(jb.errors.StoreError, match="disk is full"):
            tee.insert(t=1, is_first=False, is_last=True)
    assert (len(buffer), writer.open_rows.tolist(), len(store)) == (1, [1], 0)
    tee.insert(t=1, is_first=False, is_last=True)
    assert (len(buffer), writer.open_rows.tolist(), len(store)) == (2, [0], 1)


def test_rows_that_the_ring_cannot_take_are_not_in_the_store_either(monkeypatch):
    store = jb.EpisodeStore(row=FLAGGED)
    buffer = jb.HostReplay(jb.Replay(16, 2), FLAGGED)
    tee = Tee(buffer, store.writer(2))
    rows = [
        {"t": np.int32([t, 10 + t]), "is_first": np.full(2, t == 0), "is_last": np.array([False, t == 2])}
        for t in range(3)
    ]
    tee.add(rows[0])

    def full(*_):
        raise MemoryError("the device is full")

    with monkeypatch.context() as patch:
        patch.setattr(buffer, "add", full)
        with pytest.raises(MemoryError, match="the device is full"):
            tee.add(rows[1])
    assert (len(buffer), tee.writer.open_rows.tolist()) == (2, [1, 1])
    with pytest.raises(jb.errors.ShapeError, match="do not fit"):  # it is asked first
        tee.add(jax.tree.map(lambda x: np.stack([x] * 9), rows[1]))
    assert (len(buffer), tee.writer.open_rows.tolist()) == (2, [1, 1])
    tee.add(rows[1])
    with monkeypatch.context() as patch:
        patch.setattr(buffer, "add", full)
        with pytest.raises(MemoryError) as raised:
            tee.add(rows[2])
    assert "keeps the episodes [0]" in raised.value.__notes__[0]
    assert store[0].rows["t"].tolist() == [10, 11, 12]
    assert (len(buffer), tee.writer.open_rows.tolist()) == (4, [3, 0])


def test_texts_of_another_table_are_refused():
    row = {"obs": jb.text, "is_first": np.bool_(False), "is_last": np.bool_(False)}
    store = jb.EpisodeStore(row=row)
    with pytest.raises(ConfigurationError, match=r"table=store.texts"):
        Tee(jb.HostReplay(jb.Replay(4, None), row), store.writer())
    with pytest.raises(ConfigurationError, match="HostReplay"):
        Tee(jb.Replay(4, None), store.writer())


def test_a_ring_without_environments_is_teed_too():
    store = jb.EpisodeStore(row=FLAGGED)
    buffer = jb.HostReplay(jb.Replay(8, None), FLAGGED)
    tee = Tee(buffer, store.writer())
    for t in range(3):
        tee.insert(t=t, is_first=t == 0, is_last=t == 2)
    assert (len(store), len(buffer)) == (1, 3)
    assert store[0].rows["t"].tolist() == [0, 1, 2]
