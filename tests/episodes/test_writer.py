"""Rows of parallel environments become the episodes that a loop in plain Python would make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import quick_jit
from tier import budget

import jaxbuffers as jb
from jaxbuffers.errors import DtypeError, MissingFieldError, ShapeError, StoreError, StructureError

ROW = {"x": np.int32(0), "is_first": np.bool_(0), "is_last": np.bool_(0), "is_terminal": np.bool_(0), "said": jb.text}


def same(store, episodes):
    """Assert that a store has just these episodes."""
    assert len(store) == len(episodes)
    for (stream, expected), episode in zip(episodes, store, strict=True):
        assert episode.metadata["stream"] == stream
        assert len(episode) == len(expected)
        for name in ROW:
            found = episode.rows[name].tolist()
            assert (store.texts.lookup(found) if name == "said" else found) == [row[name] for row in expected]


@settings(max_examples=budget(40, 1500), deadline=None)
@given(st.data(), st.integers(1, 4), st.sampled_from(["truncate", "drop"]))
def test_a_writer_is_a_loop(data, streams, how):
    store, steps = jb.EpisodeStore(row=ROW, segment_bytes=200), []
    writer, ended = store.writer(streams), []
    for _ in range(data.draw(st.integers(1, 6))):
        count = data.draw(st.integers(1, 4))
        flags = np.array(data.draw(st.lists(st.booleans(), min_size=4 * count * streams, max_size=4 * count * streams)))
        first, last, terminal, mask = flags.reshape(4, count, streams)
        block = {
            "x": np.arange(count * streams, dtype=np.int32).reshape(count, streams) + len(steps),
            "is_first": first,
            "is_last": last,
            "is_terminal": terminal & last,
            "said": [[f"{n} {e}" for e in range(streams)] for n in range(count)],
        }
        for n in range(count):
            steps.append([(e, {k: _at(v, n, e) for k, v in block.items()}) for e in range(streams) if mask[n, e]])
        if count == 1 and data.draw(st.booleans()):
            block, mask = {k: v[0] for k, v in block.items()}, mask[0]
        ended += writer.add(block, mask).tolist()
    expected, going = _ended(steps)
    assert ended == list(range(len(expected)))
    same(store, expected)
    assert writer.open_rows.tolist() == [len(going.get(e, [])) for e in range(streams)]
    open_texts = {row["said"] for some in going.values() for row in some}
    assert {store.texts.lookup(int(i)) for i in writer.text_ids()} == open_texts
    store.texts.sweep(store)
    assert open_texts <= set(store.texts.lookup(store.texts.ids()))
    writer.close(how)
    if how == "truncate":
        for stream in sorted(going):
            going[stream][-1]["is_last"] = True
            expected.append((stream, going[stream]))
    same(store, expected)
    endings = [
        "terminated" if e[-1]["is_terminal"] else "truncated" if e[-1]["is_last"] else "cut" for _, e in expected
    ]
    assert store.metadata["ending"].tolist() == endings


def _at(column, n, e):
    return column[n][e] if isinstance(column, list) else column[n, e].item()


def _ended(steps):
    """A loop without arrays: return the episodes that ended, and those that go on.

    Of one moment, the episodes that a first row ends come before those that a last row ends.
    """
    going, ended = {}, []
    for moment in steps:
        for stream, row in moment:
            if row["is_first"] and going.get(stream):
                ended.append((stream, going.pop(stream)))
        for stream, row in moment:
            row["is_first"] |= not going.get(stream)
            going.setdefault(stream, []).append(row)
        for stream, row in moment:
            if row["is_last"]:
                ended.append((stream, going.pop(stream)))
    return ended, going


PLAIN = {"x": np.zeros(2, np.float32), "is_first": np.bool_(0), "is_last": np.bool_(0), "is_terminal": np.bool_(0)}


def block(*lead, **others):
    return {name: np.zeros((*lead, *x.shape), x.dtype) for name, x in PLAIN.items()} | others


def test_a_recorder_and_a_writer_speak_of_the_same_rows():
    """What `Replay.add` takes, JAX arrays and all."""
    recorder = jb.Recorder("same_step")

    @quick_jit
    def step(state, t):
        return recorder.step(
            state,
            action=jnp.full(3, t, jnp.int32),
            obs=jnp.full((3, 2), t + 1, jnp.float32),
            reward=jnp.ones(3, jnp.float32),
            terminated=jnp.stack([t == 4, t == 7, t < 0]),
            truncated=jnp.stack([t < 0, t < 0, t == 5]),
            final_obs=jnp.full((3, 2), 100 + t, jnp.float32),
        )

    state = recorder.init(jnp.zeros((3, 2), jnp.float32))
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), jax.eval_shape(step, state, 0)[1])
    store, count = jb.EpisodeStore(row=row), 0
    with store.writer(3) as writer:
        for t in range(12):
            state, rows, mask = step(state, t)
            count += int(np.sum(mask))
            writer.add(rows, mask)
    assert store.rows == count
    assert store.metadata["ending"].tolist() == ["terminated", "truncated", "terminated"] + ["truncated"] * 3
    assert store[0].rows.obs[:, 0].tolist() == [0, 1, 2, 3, 4, 104]
    assert store.metadata["return"][:3].tolist() == [5, 6, 8]


def test_one_environment_needs_no_axis(make):
    store = make(row=PLAIN)
    with store.writer() as writer:
        assert writer.add(block(is_first=np.array(True))).tolist() == []
        assert writer.add(block(3, is_last=np.array([False, True, False])), np.array([True, True, False])).tolist() == [
            0
        ]
        writer.add(block(), np.array(False))
    assert store.metadata["length"].tolist() == [3]
    assert store.metadata["stream"].tolist() == [0]


def test_an_exception_drops_what_is_open(make):
    store = make(row=PLAIN)
    writer = store.writer(2)

    def loop():
        with writer:
            writer.add(block(2, is_last=np.array([True, False])))
            raise RuntimeError("the environment broke")

    with pytest.raises(RuntimeError, match="the environment"):
        loop()
    assert store.metadata["length"].tolist() == [1]
    with pytest.raises(StoreError, match="writer is closed"):
        writer.add(block(2))


def test_metadata_of_a_writer_is_that_of_the_episodes_that_end(make):
    store = make(row=PLAIN)
    with store.writer(2, metadata={"policy": 1}) as writer:
        writer.add(block(2, is_last=np.array([True, False])))
        writer.metadata = {"policy": 2}
    assert store.metadata["policy"].tolist() == [1, 2]
    with pytest.raises(DtypeError, match="column 'policy' is int"):
        store.writer(2, metadata={"policy": "a"})


WRONG = {
    "another number of environments": (block(3), None, ShapeError, r"\(3,\)"),
    "no axis of environments": (block(), None, ShapeError, "leading axes"),
    "a mask of another shape": (block(2), np.ones(3, bool), ShapeError, r"mask must be a bool array of shape \[2\]"),
    "a mask of numbers": (block(2), np.ones(2, np.int32), DtypeError, "mask must be a bool array"),
    "a list as a mask": (block(2), [True, True], DtypeError, "mask must be a bool array"),
    "a mask for one row of several": (block(3, 2), np.ones(2, bool), ShapeError, r"shape \[3, 2\]"),
    "a dtype": (block(2, x=np.zeros((2, 2), np.float16)), None, DtypeError, "'x' has dtype float16"),
    "a missing field": ({"x": np.zeros((2, 2), np.float32)}, None, StructureError, "missing leaves: is_first"),
    "an end that is none": (block(2, is_terminal=np.ones(2, bool)), None, StructureError, "is_terminal is True where"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_other_rows_are_refused_and_none_is_taken(make, wrong):
    rows, mask, error, message = wrong
    store = make(row=PLAIN)
    writer = store.writer(2)
    writer.add(block(2))
    with pytest.raises(error, match=message):
        writer.add(rows, mask)
    assert writer.open_rows.tolist() == [1, 1]


def test_rows_need_flags_to_be_split(make):
    with pytest.raises(MissingFieldError, match=r"EpisodeStore.writer needs the field 'is_first'"):
        make(row={"x": np.float32(0)}).writer(2)
    with pytest.raises(StoreError, match="open it with row="):
        make().writer(2)


def test_more_rows_than_the_capacity_are_refused_and_stay_open(make):
    store = make(row=PLAIN, capacity=5)
    writer = store.writer(2)
    writer.add(block(4, 2))
    with pytest.raises(jb.errors.ConfigurationError, match="6 rows do not fit in capacity=5"):
        writer.add(block(2, 2, is_last=np.array([[False, False], [True, True]])))
    assert writer.open_rows.tolist() == [4, 4]
    assert writer.add(block(2, is_last=np.array([True, False]))).tolist() == [0]


def test_episodes_that_end_at_once_evict_one_another_in_order(make):
    store = make(row=PLAIN, capacity=5)
    store.add_episode(block(1, is_first=np.ones(1, bool), is_last=np.ones(1, bool)))
    writer = store.writer(4)
    writer.add(block(4))
    assert writer.add(block(4, is_last=np.ones(4, bool))).tolist() == [1, 2, 3, 4]
    assert store.metadata["id"].tolist() == [3, 4]
    assert store.metadata["stream"].tolist() == [2, 3]
    assert [store[i].rows["is_last"].tolist() for i in (3, 4)] == [[False, True]] * 2
    writer.add(block(4))
    assert writer.close().tolist() == [5, 6, 7, 8]
    assert store.metadata["id"].tolist() == [4, 5, 6, 7, 8][-4:]


def test_a_stream_that_is_joined_midway_opens_an_episode(make):
    """In a ring its rows are told from those of an episode before it that was cut."""
    store = make(row=PLAIN)
    writer = store.writer()
    for value, first in ((1, True), (2, False), (3, True)):
        writer.add(block(x=np.full(2, value, np.float32), is_first=np.array(first)))
    writer.close("drop")
    writer = store.writer()
    for value, last in ((9, False), (10, True), (11, False)):
        writer.add(block(x=np.full(2, value, np.float32), is_last=np.array(last)))
    writer.close()
    assert store.metadata["ending"].tolist() == ["cut", "truncated", "truncated"]
    assert [episode.rows["is_first"].tolist() for episode in store] == [[True, False], [True, False], [True]]
    view = jb.Sequences(3, episodes="within")
    replay = jb.Replay(8, None, 4, view)
    assert store.count(view) == 0
    assert int(replay.legal(store.refill(replay).state).count().sum()) == 0


def test_no_rows_are_taken_as_the_ring_takes_them(make):
    store = make(row=PLAIN | {"said": jb.text})
    writer = store.writer(2)
    assert writer.add(block(0, 2) | {"said": []}).tolist() == []
    assert writer.add(block(0, 2) | {"said": []}, np.ones((0, 2), bool)).dtype == np.int64
    assert writer.open_rows.tolist() == [0, 0]
    with pytest.raises(ShapeError, match=r"expected \(2,\)"):
        writer.add(block(0, 3) | {"said": []})
    with pytest.raises(ShapeError, match="at least one row"):
        store.add_episode(block(0) | {"said": []})
