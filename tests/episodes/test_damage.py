"""Whatever happens to the bytes of a store: right data, or an error with a name that says where."""

import os
import random
import shutil

import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW_BYTES, Model, opened, rows, temporary

CASES = budget(200, 6000)


@pytest.fixture(scope="module", params=["closed", "killed"])
def stored(request):
    """A folder with a store, and what is in it; the log of a store that was killed is still beside its catalog."""
    path, model = temporary() / "store", Model()
    store = opened(path, segment_bytes=80 * ROW_BYTES)
    for key, length in enumerate([3, 40, 1, 90, 25, 30]):
        store.add_episode(rows(key, length), {"key": key})
        model.add([(key, length)])
    store.delete([2])
    model.delete([2])
    store.set([0, 1], judgment=0.5)
    model.judge([0, 1], 0.5)
    if request.param == "closed":
        store.close()
        yield path, model
    else:
        yield path, model
        store.close()
    shutil.rmtree(path.parent)


def damages(data, dice):
    """Return the data with some damage that changes them."""
    i, j = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    kind = dice.random()
    if kind < 0.7:  # one bit
        i = min(i, len(data) - 1)
        return data[:i] + bytes([data[i] ^ (1 << dice.randrange(8))]) + data[i + 1 :]
    if kind < 0.8:  # a hole
        return data[:i] + bytes(j - i) + data[j:]
    if kind < 0.9:
        return data[:i]
    return data[:i] + dice.randbytes(20) + data[i + 20 :]


def test_no_damage_is_returned_as_data(stored, folder):
    path, model = stored
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix not in (".lock", "")]
    files = [file for file in files if not file.name.endswith("-shm")]  # which SQLite makes anew
    assert {file.suffix for file in files} >= {".sqlite", ".safetensors", ".revision"}
    dice, said, tried = random.Random(0), [], 0
    while tried < CASES:
        file = dice.choice(files)
        data = file.read_bytes()
        damaged = damages(data, dice)
        if damaged == data:
            continue
        tried += 1
        copy = folder / "copy"
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        (copy / file.relative_to(path)).write_bytes(damaged)
        try:
            with jb.EpisodeStore(copy, read_only=tried % 2 == 0) as store:
                model.check(store)
        except jb.errors.StoreError as error:
            said.append(str(error))
        finally:
            shutil.rmtree(copy)
    assert all("copy" in message for message in said), "it does not say which file"
    assert len(said) > tried / 10, "it met hardly any damage"


def test_the_damaged_episode_field_and_rows_are_named(folder):
    with opened(folder / "store", segment_bytes=100 * ROW_BYTES) as store:
        for key in range(3):
            store.add_episode(rows(key, 10), {"key": key})
    (file,) = (folder / "store" / "segments").iterdir()
    data, wanted = file.read_bytes(), rows(1, 10)["obs"].tobytes()
    at = data.index(wanted) + 40
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with opened(folder / "store") as store:
        for read in (
            lambda: store[1].rows,
            lambda: store.read([0, 1], [0, 4], 3),
            lambda: store.compact(1.0) if store.delete([2]) is None else None,
        ):
            with pytest.raises(
                jb.errors.DamagedError,
                match=r"00000000.safetensors is damaged: field 'obs' of episode 1, rows 0 to 9, does not have the",
            ):
                read()
        assert store.read([1], [0], 10, ["reward"])["reward"][0].tolist() == rows(1, 10)["reward"].tolist()
        assert store[0].rows["obs"].tobytes() == rows(0, 10)["obs"].tobytes()
        store.delete([1])
        assert [episode.id for episode in store] == [0]
        assert COLUMNS.keys() <= store[0].metadata.keys() | {"judgment"}


def test_bytes_that_were_checked_cost_nothing_again(folder, monkeypatch):
    with opened(folder / "store") as store:
        for key in range(3):
            store.add_episode(rows(key, 10), {"key": key})
        store.read([0, 1, 2], [0, 3, 6], 2)
        monkeypatch.setattr(store._core.catalog, "checksums", None)
        store.read([2, 2, 1], [0, 8, 4], 1)


@pytest.mark.parametrize("name", ["catalog.sqlite", "catalog.sqlite-wal"])
def test_a_part_that_was_left_behind_is_missed(folder, name):
    store = opened(folder / "store")
    store.add_episode(rows(0, 3), {"key": 0})
    store.add_episode(rows(1, 3), {"key": 1})
    shutil.copytree(folder / "store", folder / "copy", ignore=shutil.ignore_patterns(name, "*-shm"))
    store.close()
    with pytest.raises(
        jb.errors.StoreError, match=r"copy/catalog.sqlite (is missing|is damaged: it has seen 0 commits)"
    ):
        jb.EpisodeStore(folder / "copy")
    assert len(list((folder / "copy" / "segments").iterdir())) == 1, "it is still there"


def test_a_segment_that_is_missing_is_named(folder):
    with opened(folder / "store") as store:
        store.add_episode(rows(0, 3), {"key": 0})
    (file,) = (folder / "store" / "segments").iterdir()
    file.unlink()
    with opened(folder / "store") as store, pytest.raises(jb.errors.DamagedError, match=r"00000000.safetensors is mis"):
        store.read([0], [0], 1)


def _store(path, *values, **options):
    with jb.EpisodeStore(path, **options) as store:
        for value in values:
            store.add_episode({"x": np.full((4, 2), value, np.float32)})
    return path / "segments" / "00000000.safetensors"


def _altered(file):
    data = file.read_bytes()
    file.write_bytes(data[:30] + b"#" + data[31:])


DAMAGES = {
    "a byte of its header": _altered,
    "a short file": lambda file: os.truncate(file, 5000),
    "no file": lambda file: file.unlink(),
    "that of another store": lambda file: shutil.copy(_store(file.parents[2] / "other", 9.0), file),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("late", [False, True])
def test_new_episodes_do_not_go_to_a_damaged_segment(folder, damage, late):
    file = _store(folder / "store", 1.0)
    if not late:
        damage(file)
    with jb.EpisodeStore(folder / "store") as store:
        if late:
            damage(file)
        ids = [store.add_episode({"x": np.full((4, 2), value, np.float32)}) for value in (2.0, 3.0)]
    with jb.EpisodeStore(folder / "store") as store:
        assert [store[i].rows["x"][0, 0] for i in ids] == [2, 3]
        with pytest.raises(jb.errors.DamagedError, match=r"00000000.safetensors is (damaged|missing)"):
            store[0].rows  # noqa: B018
        store.delete([0])
    assert file.exists() == (damage is DAMAGES["that of another store"]), "only what is of this store is deleted"


def test_segments_of_another_store_are_not_deleted(folder):
    """The catalog of another store, copied over that of this one, does not know its segments."""
    _store(folder / "a", 0.0, 1.0, 2.0, segment_bytes=32)
    _store(folder / "b", *range(9))
    segments, catalog = folder / "a" / "segments", folder / "a" / "catalog.sqlite"
    before, mine = {file.name: file.read_bytes() for file in segments.iterdir()}, catalog.read_bytes()
    shutil.copy(folder / "b" / "catalog.sqlite", catalog)
    for _ in range(2):
        with pytest.raises(jb.errors.StoreError, match=r"0000000[12].safetensors is not of this store, by its header"):
            jb.EpisodeStore(folder / "a")
    assert {file.name: file.read_bytes() for file in segments.iterdir()} == before
    catalog.write_bytes(mine)
    with jb.EpisodeStore(folder / "a") as store:
        assert [episode.rows["x"][0, 0] for episode in store] == [0, 1, 2]


@pytest.mark.parametrize("left", [b"", bytes(10), bytes(9000), 50, 4096])
def test_a_segment_that_a_crash_has_left_half_made_is_deleted(folder, left):
    file = _store(folder / "store", 1.0)
    (file.parent / "00000001.safetensors").write_bytes(file.read_bytes()[:left] if isinstance(left, int) else left)
    with jb.EpisodeStore(folder / "store") as store:
        assert os.listdir(file.parent) == [file.name]
        assert store[0].rows["x"].tolist() == [[1, 1]] * 4
