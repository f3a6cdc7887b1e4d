"""Parquet out: what pandas and pyarrow read is what the store has."""

import ml_dtypes
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.datasets import to_parquet

parquet = pytest.importorskip("pyarrow.parquet")
ROW = {
    "image": np.zeros((32, 32, 3), np.uint8),
    "grid": np.zeros((2, 3), np.int16),
    "place": {"x": np.float32(0), "y": np.zeros(2, np.float16)},
    "mission": jb.text,
    "pair": jb.text[2],
    "low": np.zeros((), ml_dtypes.bfloat16),
    "is_last": np.bool_(0),
}
SMALL = ["grid", "is_last", "mission", "pair", "place.x", "place.y"]


def store_of(*lengths):
    store = jb.EpisodeStore(row=ROW)
    for number, count in enumerate(lengths):
        time = np.arange(count)
        rows = {
            "image": np.zeros((count, 32, 32, 3), np.uint8),
            "grid": np.broadcast_to(time[:, None, None], (count, 2, 3)).astype(np.int16),
            "place": {"x": np.float32(time + number / 2), "y": np.stack([time, -time], 1).astype(np.float16)},
            "mission": [None if t == 1 else f"m{number}.{t}" for t in time],
            "pair": [[f"a{t}", None] for t in time],
            "low": time.astype(ml_dtypes.bfloat16),
            "is_last": time == count - 1,
        }
        store.add_episode(rows, {"level": number} if number else {"note": "first"})
    return store


def test_columns_and_small_fields_are_read_as_they_are(tmp_path):
    store = store_of(3, 4, 2)
    assert sorted(to_parquet(store, tmp_path / "e.parquet", tmp_path / "r.parquet")) == SMALL
    episodes, rows = (parquet.read_table(tmp_path / name).to_pylist() for name in ("e.parquet", "r.parquet"))
    assert [each["id"] for each in episodes] == [0, 1, 2]
    assert [each["length"] for each in episodes] == [3, 4, 2]
    assert [each["level"] for each in episodes] == [None, 1, 2]
    assert [each["note"] for each in episodes] == ["first", None, None]
    assert [(each["episode"], each["time"]) for each in rows] == [
        (e, t) for e, n in enumerate([3, 4, 2]) for t in range(n)
    ]
    for each in rows:
        number, t = each["episode"], each["time"]
        assert set(each) == {"episode", "time", *SMALL}
        assert each["grid"] == [[t] * 3] * 2
        assert each["place.x"] == t + number / 2
        assert each["place.y"] == [t, -t]
        assert each["mission"] == (None if t == 1 else f"m{number}.{t}")
        assert each["pair"] == [f"a{t}", None]
        assert each["is_last"] == (t == [3, 4, 2][number] - 1)


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    to_parquet(store_of(3, 4), tmp_path / "e.parquet", tmp_path / "r.parquet", fields=["place.x"])
    frame = pandas.read_parquet(tmp_path / "r.parquet")
    assert list(frame.columns) == ["episode", "time", "place.x"]
    assert frame.groupby("episode")["place.x"].sum().tolist() == [3, 8]


def test_some_episodes_and_large_fields_where_they_are_named(tmp_path):
    names = to_parquet(
        store_of(2, 5),
        tmp_path / "e.parquet",
        tmp_path / "r.parquet",
        fields=["image"],
        where=lambda c: c["length"] > 2,
    )
    assert names == ["image"]
    assert parquet.read_table(tmp_path / "e.parquet")["id"].to_pylist() == [1]
    rows = parquet.read_table(tmp_path / "r.parquet")
    assert rows.num_rows == 5
    assert np.array(rows["image"].to_pylist()).shape == (5, 32, 32, 3)
    assert to_parquet(store_of(2), tmp_path / "only.parquet") == []


X, Y = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3, dtype=np.int32)


@pytest.mark.parametrize(
    "rows, shown",
    [
        (X, {"value": X}),
        ([X, Y], {"0": X, "1": Y}),
        ({"a.b": X, "c": {"d": Y}}, {"a.b": X, "c.d": Y}),
    ],
)
def test_rows_are_written_however_they_are_nested(tmp_path, rows, shown):
    store = jb.EpisodeStore()
    store.add_episode(rows)
    for fields in (None, list(shown)):
        assert sorted(to_parquet(store, tmp_path / "e", tmp_path / "r", fields=fields)) == sorted(shown)
        found = parquet.read_table(tmp_path / "r").to_pydict()
        assert {name: found[name] for name in shown} == {name: x.tolist() for name, x in shown.items()}


def test_short_episodes_share_groups_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxbuffers.datasets.parquet.AT_ONCE", 7)
    store = store_of(3, 4, 2, 6, 9)
    to_parquet(store, tmp_path / "e", tmp_path / "r", fields=["place.x"])
    file = parquet.ParquetFile(tmp_path / "r")
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [7, 2, 6, 7, 2]
    assert file.read()["episode"].to_pylist() == [e for e, n in enumerate([3, 4, 2, 6, 9]) for _ in range(n)]
    monkeypatch.setattr("jaxbuffers.datasets.parquet.LARGE", 1)
    to_parquet(store_of(1, 1), tmp_path / "e", tmp_path / "r", fields=["place.x"])
    assert parquet.ParquetFile(tmp_path / "r").num_row_groups == 2


def test_what_an_episode_has_not_is_null(tmp_path):
    store = jb.EpisodeStore()
    store.add_episode({"x": Y}, {"level": 0.5})
    store.add_episode({"x": Y}, {"name": "b", "count": 1})
    to_parquet(store, tmp_path / "e")
    found = parquet.read_table(tmp_path / "e").to_pydict()
    assert {name: found[name] for name in ("return", "level", "name", "count")} == {
        "return": [None, None], "level": [0.5, None], "name": [None, "b"], "count": [None, 1],
    }  # fmt: skip


def test_fields_that_cannot_be_written_are_named(tmp_path):
    paths = tmp_path / "e.parquet", tmp_path / "r.parquet"
    with pytest.raises(jb.errors.DtypeError, match="bfloat16, the dtype of 'low'"):
        to_parquet(store_of(2), *paths, fields=["low"])
    with pytest.raises(jb.errors.MissingFieldError, match="no field 'speed'; they have"):
        to_parquet(store_of(2), *paths, fields=["speed"])
    with pytest.raises(jb.errors.EmptyReplayError):
        to_parquet(jb.EpisodeStore(), *paths)
    assert not any(path.exists() for path in paths)
    store = jb.EpisodeStore()
    store.add_episode({"time": np.zeros(2)[:, None].astype(np.float32)})
    with pytest.raises(jb.errors.StructureError, match="'episode' or 'time'"):
        to_parquet(store, *paths)
    store = jb.EpisodeStore()
    store.add_episode({"a.b": Y, "a": {"b": X}})
    with pytest.raises(jb.errors.StructureError, match="the same name"):
        to_parquet(store, *paths)
    with pytest.raises(jb.errors.ConfigurationError, match="the file of the episodes and that of the rows"):
        to_parquet(store_of(2), paths[0], tmp_path / "." / "e.parquet")


def test_files_are_replaced_whole_or_left_as_they_were(tmp_path):
    paths = tmp_path / "e.parquet", tmp_path / "r.parquet"
    store = store_of(3, 4)
    to_parquet(store, *paths)
    before = [path.read_bytes() for path in paths]
    rows = store[0].rows | {"mission": ["a", "\ud800", "b"], "pair": [[None, None]] * 3}
    store.add_episode(rows)
    with pytest.raises(jb.errors.DtypeError, match="half a surrogate pair"):
        to_parquet(store, *paths)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    to_parquet(store, *paths, fields=["place.x"])
    assert parquet.read_table(paths[1]).num_rows == 10
    assert sorted(tmp_path.iterdir()) == sorted(paths)
