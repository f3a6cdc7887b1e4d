"""What goes into a store comes out of it, and what does not belong there is refused by name."""

import threading
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, check_rows, rows
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    MissingFieldError,
    ShapeError,
    StoreError,
    StructureError,
    UnknownEpisodeError,
)

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "complex64"]
DTYPES += ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"]


def plain(length=4, **others):
    """Rows without texts."""
    return {name: column for name, column in rows(3, length).items() if name != "said"} | others


def test_rows_come_out_as_they_went_in(make):
    store = make(row=ROW, columns=COLUMNS, segment_bytes=700)
    lengths = [3, 1, 40, 2, 100, 7]
    ids = [store.add_episode(rows(key, length), {"key": key}) for key, length in enumerate(lengths)]
    assert ids == list(range(6))
    for key, length in enumerate(lengths):
        check_rows(store, store[key].rows, key, length)
        assert len(store[key]) == length == store[key].metadata["length"]
    assert [episode.id for episode in store] == ids
    assert (len(store), store.rows) == (6, sum(lengths))
    assert [i in store for i in (0, 5, 6, -1)] == [True, True, False, False]


@pytest.mark.parametrize("name", DTYPES + (["int64", "float64", "complex128"] if jax.config.jax_enable_x64 else []))
def test_every_dtype_and_shape_keeps_its_bits(make, name):
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    store = make()
    bits = np.random.default_rng(0).integers(0, 256, (5, 3, 2, dtype.itemsize), np.uint8)
    x = bits.view(dtype)[..., 0] if name not in ("bool", "int4") else (bits[..., 0] % 2).astype(dtype)
    store.add_episode({"x": x, "one": x[:, 0, 0]})
    for found in (store[0].rows, jax.tree.map(lambda column: column[0], store.read([0], [0], 5))):
        assert found["x"].dtype == dtype
        assert found["x"].tobytes() == x.tobytes()
        assert found["one"].tobytes() == x[:, 0, 0].tobytes()


def test_a_store_takes_what_is_of_jax_and_any_container(make):
    store = make()
    given = jb.episode_rows(
        jnp.arange(6.0).reshape(3, 2), (jnp.zeros(2), {"b": jnp.ones((2, 1))}), jnp.ones(2), False, True
    )
    store.add_episode(given)
    found = store[0].rows
    assert jax.tree.structure(found) == jax.tree.structure(given)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(found))
    assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(given)))


def test_windows_lie_where_they_were_asked_for(make):
    store = make(row=ROW, columns=COLUMNS, segment_bytes=900)
    lengths = [5, 30, 8, 64]
    for key, length in enumerate(lengths):
        store.add_episode(rows(key, length), {"key": key})
    dice = np.random.default_rng(0)
    for length in (1, 2, 5, 30):
        long = [i for i, n in enumerate(lengths) if n >= length]
        ids = dice.choice(long, 20)
        starts = np.array([dice.integers(lengths[i] - length + 1) for i in ids])
        found = store.read(ids, starts, length)
        some = store.read(ids, starts, length, ["reward", "obs"])
        assert list(some) == ["reward", "obs"]
        for b, (i, start) in enumerate(zip(ids, starts, strict=True)):
            for name in ("obs", "reward", "is_last"):
                expected = rows(int(i), lengths[i])[name][start : start + length]
                assert np.array_equal(found[name][b], expected)
                assert name not in some or np.array_equal(some[name][b], expected)
    found["obs"][:] = 0  # it is the caller's
    check_rows(store, store[3].rows, 3, 64)


def test_windows_outside_of_an_episode_are_refused(make):
    store = make()
    store.add_episode(plain(4))
    store.add_episode(plain(9))
    for starts, length in (([0, 0], 5), ([-1, 0], 2), ([3, 8], 2)):
        with pytest.raises(ShapeError, match=r"rows -?\d to \d of episode 0 were asked for, which has 4 rows"):
            store.read([0, 1], starts, length)
    with pytest.raises(UnknownEpisodeError, match="episode 7 is not in the store"):
        store.read([0, 7], [0, 0], 1)
    with pytest.raises(MissingFieldError, match="no field 'image'"):
        store.read([0], [0], 1, ["image"])
    with pytest.raises(DtypeError, match="ids must be integers"):
        store.read([0.5], [0], 1)
    with pytest.raises(UnknownEpisodeError, match="episode -1"):
        store[-1]
    with pytest.raises(DtypeError, match="looked up by its id"):
        store["a"]


def test_the_items_of_a_list_are_no_fields():
    store = jb.EpisodeStore()
    store.add_episode([np.zeros(3, np.float32), np.ones(3, np.int32)])
    for ask in (lambda: next(iter(store.episodes(None, ["0"]))), lambda: store.select(["0"]).spec):
        with pytest.raises(MissingFieldError, match="no field '0'; they have none with a name"):
            ask()


WRONG = {
    "a dtype": (plain(reward=np.zeros(4, np.int32)), DtypeError, "leaf 'reward' has dtype int32, expected float32"),
    "a shape": (plain(obs=np.zeros((4, 5, 2), np.uint8)), ShapeError, "leaf 'obs' has shape"),
    "a missing field": ({"obs": plain()["obs"]}, StructureError, "missing leaves: is_first"),
    "another field": (plain(more=np.zeros(4, np.int32)), StructureError, "unknown leaves: more"),
    "other lengths": (plain(reward=np.zeros(5, np.float32)), ShapeError, "'reward' has the leading axes"),
    "no axis": (jax.tree.map(lambda x: x[0], plain()), ShapeError, "leading axes"),
    "no rows": (jax.tree.map(lambda x: x[:0], plain()), ShapeError, "at least one row"),
    "a mask": (plain(reward=np.ma.zeros(4, np.float32)), DtypeError, "masked"),
    "a second first row": (plain(is_first=np.array([1, 0, 1, 0], bool)), StructureError, "is_first is True on row 2"),
    "no first row": (plain(is_first=np.zeros(4, bool)), StructureError, "is_first is False on row 0"),
    "an early last row": (plain(is_last=np.array([0, 1, 0, 1], bool)), StructureError, "is_last is True on row 1"),
    "no last row": (plain(is_last=np.zeros(4, bool)), StructureError, "is_last is False on the last row"),
    "an early end": (plain(is_terminal=np.array([0, 1, 0, 1], bool)), StructureError, "is_terminal is True where"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_other_rows_are_refused_by_name(make, wrong):
    given, error, message = wrong
    store = make()
    store.add_episode(plain())
    with pytest.raises(error, match=message):
        store.add_episode(given)
    with pytest.raises(error, match=message):
        store.add_episodes([plain(), given])
    assert (len(store), store.add_episode(plain())) == (1, 1)


def test_rows_without_flags_are_episodes_too(make):
    store = make()
    store.add_episode({"x": np.zeros((2, 3), np.float32)})
    assert store[0].metadata["ending"] == "unknown"
    assert np.isnan(store.metadata["return"]).all()


def test_the_catalog_knows_what_each_episode_is(make):
    store = make(row=ROW, columns=COLUMNS)
    before = time.time()
    for key in range(4):
        store.add_episode(rows(key, 5 + key), {"key": key}, stream=key)
    found = store.metadata
    assert found["length"].tolist() == [5, 6, 7, 8]
    assert found["stream"].tolist() == [0, 1, 2, 3]
    assert found["return"].tolist() == [rows(key, 5 + key)["reward"].sum() for key in range(4)]
    assert found["ending"].tolist() == ["terminated", "truncated"] * 2
    assert ((before <= found["time"]) & (found["time"] <= time.time())).all()
    for column in found.values():
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]


def test_episodes_are_chosen_by_a_mask_or_a_function(make):
    store = make(row=ROW, columns=COLUMNS)
    for key in range(6):
        store.add_episode(rows(key, 3), {"key": key, "judgment": None if key % 2 else key / 2})
    assert [e.id for e in store.episodes(store.metadata["ending"] == "truncated")] == [1, 3, 5]
    assert [e.id for e in store.episodes(lambda columns: columns["judgment"] >= 1)] == [2, 4]
    assert [list(e.rows) for e in store.episodes(store.metadata["key"] == 2, ["obs"])] == [["obs"]]
    assert [list(e.rows) for e in store.select(["obs"]).episodes(store.metadata["key"] == 2)] == [["obs"]]
    assert store.select(["reward"]).read([1], [0], 3)["reward"].shape == (1, 3)
    for where, error, message in (
        (np.ones(5, bool), ShapeError, "the store has 6 episodes"),
        (np.ones(6, np.int32), DtypeError, "must be a bool array"),
        (np.ma.MaskedArray(np.ones(6, bool), np.ones(6, bool)), DtypeError, "masked"),
        ([True] * 6, DtypeError, "must be a bool array"),
    ):
        with pytest.raises(error, match=message):
            store.episodes(where)


def test_capacity_is_in_rows_and_the_oldest_leave_whole(make):
    store = make(capacity=100)
    for n in (40, 30, 30):
        store.add_episode({"x": np.zeros(n, np.float32)})
    assert len(store) == 3
    store.add_episode({"x": np.zeros(1, np.float32)})
    assert store.metadata["id"].tolist() == [1, 2, 3]
    store.add_episode({"x": np.zeros(100, np.float32)})
    assert (store.metadata["id"].tolist(), store.rows) == ([4], 100)
    with pytest.raises(ConfigurationError, match="101 rows do not fit in capacity=100 rows"):
        store.add_episode({"x": np.zeros(101, np.float32)})
    assert store.metadata["id"].tolist() == [4]


def test_what_was_evicted_or_deleted_is_gone_and_its_id_never_comes_back(make):
    store = make()
    ids = store.add_episodes([{"x": np.full(3, i, np.float32)} for i in range(6)])
    held = store[1]
    assert store.evict(2).tolist() == [0, 1]
    store.delete(ids[4:])
    assert store.metadata["id"].tolist() == [2, 3]
    assert held.rows["x"].tolist() == [1, 1, 1], "who holds an episode keeps it"
    for gone in (0, 1, 4, 5):
        with pytest.raises(UnknownEpisodeError, match=f"episode {gone} is not in the store"):
            store[gone]
    with pytest.raises(UnknownEpisodeError):
        store.delete([2, 4])
    with pytest.raises(ConfigurationError, match="twice"):
        store.delete([2, 2])
    assert store.evict(10).tolist() == [2, 3]
    assert (len(store), store.rows, store.evict(1).tolist()) == (0, 0, [])
    assert store.add_episode({"x": np.zeros(3, np.float32)}) == 6


def test_compaction_keeps_every_byte_and_frees_segments(make):
    store = make(row=ROW, columns=COLUMNS, segment_bytes=26 * 40)
    for key in range(20):
        store.add_episode(rows(key, 10), {"key": key})
    held = [store[i] for i in (3, 4)]
    store.delete([i for i in range(20) if i % 4])
    before = len(store._core.known)
    assert store.compact() >= 3
    assert len(store._core.known) < before
    assert store.compact() == 0
    for i in store.metadata["id"].tolist():
        check_rows(store, store[i].rows, i, 10)
    for episode in held:
        assert np.array_equal(episode.rows["obs"], rows(episode.id, 10)["obs"])


def test_one_that_was_closed_says_so(make):
    store = make()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.add_episode(plain())


def test_threads_read_while_one_adds(make):
    store = make(row=ROW, columns=COLUMNS, capacity=300, segment_bytes=26 * 50)
    store.add_episode(rows(0, 10), {"key": 0})
    done, wrong = threading.Event(), []

    def read():
        read = 0
        while not done.is_set() or read < 10:
            try:
                table = store.table()
                i = read % len(table)
                episode, key = int(table["id"][i]), int(table["key"][i])
                found = store.read([episode], [0], 10)
                check_rows(store, {name: column[0] for name, column in found.items()}, key, 10)
                check_rows(store, store[episode].rows, key, 10)
                read += 1
            except UnknownEpisodeError:
                continue
            except BaseException as error:
                wrong.append(error)
                raise

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for key in range(1, 60):
        store.add_episode(rows(key, 10), {"key": key})
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_episode_may_lie_in_a_file(folder, opened):
    """So one that is larger than memory can come in; its rows come out as they lie on the disk, not copied."""
    x = np.memmap(folder / "x", np.int32, "w+", shape=(5000, 4))
    x[:] = np.arange(20_000).reshape(x.shape)
    store = opened(folder / "store", segment_bytes=2**12)
    store.add_episode({"x": x, "y": x[::-1]})
    found = store[0].rows
    assert np.array_equal(found["x"], x)
    assert np.array_equal(found["y"], x[::-1])
    assert not found["x"].flags.owndata
    assert not found["x"].flags.writeable
