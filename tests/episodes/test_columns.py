"""Columns of the user's own: typed by their first value or by name, changed late, and never cast."""

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    ShapeError,
    StoreError,
    StructureError,
    UnknownEpisodeError,
)

ROWS = {"x": np.zeros(2, np.float32)}


def test_types_are_those_of_the_first_values(make):
    store = make()
    store.add_episode(ROWS, {"a": 1, "b": 0.5, "c": True, "d": "x"})
    store.add_episode(ROWS, {"a": np.int64(2**60), "b": np.float64(1), "c": np.bool_(False), "d": np.str_("y\0é")})
    found = store.metadata
    assert [found[name].dtype for name in "abcd"] == [np.int64, np.float64, np.bool_, object]
    assert [found[name].tolist() for name in "abcd"] == [[1, 2**60], [0.5, 1], [True, False], ["x", "y\0é"]]
    assert {name: store[1].metadata[name] for name in "abcd"} == {"a": 2**60, "b": 1.0, "c": False, "d": "y\0é"}


def test_an_episode_without_a_value_is_told_from_others(make):
    store = make(columns={"b": float, "d": "str"})
    store.add_episode(ROWS)
    store.add_episode(ROWS, {"a": 0, "b": None, "c": False})
    found = store.metadata
    assert (found["a"].mask.tolist(), found["c"].mask.tolist()) == ([True, False], [True, False])
    assert np.isnan(found["b"]).all()
    assert found["d"].tolist() == [None, None]
    assert store[0].metadata.keys() == set(store.metadata) - {"a", "b", "c", "d"}
    assert store[1].metadata["c"] is False
    with pytest.raises(DtypeError, match=r"masked array, whose mask would be lost. Say what its gaps are: x.filled"):
        store.episodes(found["a"] == 0)
    assert [e.id for e in store.episodes((found["a"] == 0).filled(False))] == [1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i", 1.0),
        ("i", True),
        ("f", True),
        ("f", 2**53 + 1),
        ("b", 1),
        ("b", 0.0),
        ("s", 1),
        ("i", "1"),
        ("i", 2**63),
        ("s", "\ud800"),
        ("f", np.zeros(2)),
        ("new", [1]),
        ("new", None),
        ("f", "nan"),
    ],
)
def test_values_of_another_type_are_refused_and_nothing_is_stored(make, name, value):
    store = make(columns={"i": int, "f": float, "b": bool, "s": str})
    store.add_episode(ROWS)
    with pytest.raises((DtypeError, ConfigurationError), match=name):
        store.add_episode(ROWS, {name: value})
    with pytest.raises((DtypeError, ConfigurationError, ShapeError), match=name):
        store.set([0], **{name: [value]})
    assert (len(store), list(store.metadata)[-1]) == (1, "s")


@pytest.mark.parametrize("name", ["id", "Length", "rowid", "sum", "a b", "é", "", "revision", "I"])
def test_names_that_cannot_be_a_column_are_refused(make, name):
    store = make(columns={"i": int})
    with pytest.raises(ConfigurationError):
        store.add_episode(ROWS, {name: 1})
    with pytest.raises(ConfigurationError):
        make(columns={name: int, "i": int})


def test_values_may_come_late_and_be_taken_away(make):
    store = make()
    ids = store.add_episodes([ROWS] * 5)
    before = store.metadata
    store.set(ids[1:3], judgment=[0.5, 1], used=True)
    store.set(4, judgment=0.25)
    assert np.array_equal(store.metadata["judgment"], [np.nan, 0.5, 1, np.nan, 0.25], equal_nan=True)
    store.set([2], judgment=None)
    assert np.array_equal(store.metadata["judgment"], [np.nan, 0.5, np.nan, np.nan, 0.25], equal_nan=True)
    assert store.metadata["used"].filled(False).tolist() == [False, True, True, False, False]
    assert "judgment" not in before, "what was looked at does not change"
    with pytest.raises(UnknownEpisodeError):
        store.set([0, 9], judgment=0.0)
    with pytest.raises(ShapeError, match="2 values for 3 episodes"):
        store.set([0, 1, 2], judgment=[0.0, 1.0])
    with pytest.raises(ConfigurationError, match="twice"):
        store.set([0, 0], judgment=0.0)
    with pytest.raises(ConfigurationError):
        store.set([0], length=3)
    assert np.isnan(store.metadata["judgment"][0])


def test_columns_outlive_the_process(folder, opened):
    store = opened(folder / "store", columns={"a": int})
    store.add_episodes([ROWS] * 3, [{"a": 1, "s": "x"}, {"a": 2, "ok": True}, {}])
    store.set([0], score=2)
    store.close()
    store = opened(folder / "store", columns={"ok": bool})
    assert store.metadata["a"].filled(0).tolist() == [1, 2, 0]
    assert store.metadata["s"].tolist() == ["x", None, None]
    assert store[0].metadata["score"] == 2
    assert store[1].metadata["ok"] is True
    store.close()
    with pytest.raises(ConfigurationError, match=r"column 'a' of .* is int; it cannot be declared float"):
        opened(folder / "store", columns={"a": float})
    with pytest.raises(StoreError, match="has no column 'z'"):
        opened(folder / "store", columns={"z": float}, read_only=True)


def test_a_snapshot_says_whether_another_is_the_same(make):
    store = make()
    store.add_episode(ROWS)
    first = store.table()
    assert store.table().revision == first.revision
    store.set([0], a=1)
    assert store.table().revision != first.revision
    assert first.names() == [name for name in store.table().names() if name != "a"]
    assert isinstance(jb.EpisodeStore().metadata, dict)


def test_the_checksum_is_of_what_sqlite_hands_back(folder, opened):
    """Of two zeros SQLite keeps one, and of no-numbers none."""
    values = [-0.0, 0.0, np.float32(-0.0), np.nan, -np.nan, np.inf, 5e-324, 1e300, float(2**53), -(2.0**63), 1e22]
    store = opened(folder / "store", columns={"f": float, "n": int, "s": str, "b": bool})
    for value in values:
        store.add_episode(
            {"reward": np.full(2, -0.0, np.float32)},
            {"f": value, "n": -(2**63) if value else 2**63 - 1, "s": "\0é\U0001f600", "b": not value},
        )
    store.set(3, f=-0.0)
    before = store.metadata
    with opened(store.path, read_only=True) as reader:
        assert len(reader) == len(values)
    store.close()
    store = opened(folder / "store")
    for name, column in before.items():
        found = store.metadata[name]
        assert found.tolist() == column.tolist() or np.array_equal(found, column, equal_nan=True), name
        if found.dtype == np.float64:
            np.testing.assert_array_equal(np.signbit(found[found == 0]), False)
            np.testing.assert_array_equal(np.signbit(column[column == 0]), False)


def test_a_column_may_be_called_as_something_inside_is(folder, opened):
    store = opened(folder / "store")
    for i in range(3):
        store.add_episode({"x": np.full((4, 2), i, np.float32)}, {"block": 100 * i + 7, "first_block": i})
    assert store.metadata["block"].tolist() == [7, 107, 207]
    store.read([0, 1], [0, 0], 4)
    store.close()
    store = opened(folder / "store")
    assert store.metadata["block"].tolist() == [7, 107, 207]
    store.read([0], [0], 4)
    file = folder / "store" / "segments" / "00000000.safetensors"
    data = file.read_bytes()
    at = data.index(np.full((4, 2), 2, np.float32).tobytes())
    file.write_bytes(data[:at] + b"\1" + data[at + 1 :])
    store.set(2, block=7)
    with pytest.raises(jb.errors.DamagedError, match="episode 2"):
        store.read([2], [0], 4)
    assert store.metadata["block"].tolist() == [7, 107, 7]


@pytest.mark.parametrize("kind", [[1], {"a": 1}, None, 5, bytes, "int64", np.float32])
def test_a_type_that_is_none_is_refused_by_name(kind):
    with pytest.raises(ConfigurationError, match="column 'a' must be int, float, bool or str"):
        jb.EpisodeStore(columns={"a": kind})


@pytest.mark.parametrize("wrong", [[1], 5, "ab", [("a", 1)]])
def test_metadata_that_is_no_dict_is_refused(make, wrong):
    flags = {name: np.ones(1, bool) for name in ("is_first", "is_last")}
    store = make(row={"x": np.float32(0)} | {name: np.bool_(0) for name in flags})
    one = {"x": np.zeros(1, np.float32)} | flags
    writer = store.writer()
    writer.metadata = wrong
    for call in (
        lambda: store.add_episode(one, wrong),
        lambda: store.add_episodes([one, one], [{}, wrong]),
        lambda: writer.add(one),
        lambda: store.writer(metadata=wrong),
    ):
        with pytest.raises(DtypeError, match="metadata must be a dict of columns"):
            call()
    for given in ((one,), ([one], {"a": 1})):
        with pytest.raises(StructureError, match="give a list of episodes"):
            store.add_episodes(*given)
    assert store.add_episodes([one, one], [None, {"a": 1}]).tolist() == [0, 1]
    assert store.metadata["a"].tolist() == [None, 1]
