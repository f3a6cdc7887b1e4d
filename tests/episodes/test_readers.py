"""One writer, any number of readers, and forks of either."""

import os
import pickle
import shutil
import sqlite3

import jax
import numpy as np
import pytest
from flax import struct

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, check_rows, rows
from jaxbuffers.errors import ConfigurationError, DtypeError, StoreError, UnknownEpisodeError, WrongProcessError


@struct.dataclass
class Own:
    """A row of the user's own class."""

    x: jax.Array


def add(store, *keys):
    for key in keys:
        store.add_episode(rows(key, 10), {"key": key})


@pytest.fixture
def writer(folder, opened):
    store = opened(folder / "store", row=ROW, columns=COLUMNS, segment_bytes=26 * 25)
    add(store, 0, 1, 2, 3)
    return store


@pytest.fixture
def reader(writer, opened):
    return opened(writer.path, read_only=True)


def test_a_reader_sees_one_moment_until_it_is_told(writer, reader):
    add(writer, 4)
    writer.delete([0])
    writer.set([1], judgment=0.5)
    assert reader.metadata["id"].tolist() == [0, 1, 2, 3]
    assert reader.refresh()
    assert reader.metadata["id"].tolist() == [1, 2, 3, 4]
    assert reader.metadata["judgment"][0] == 0.5
    assert not reader.refresh()
    assert not writer.refresh()
    check_rows(reader, reader[4].rows, 4, 10)


def test_a_reader_keeps_the_bytes_of_an_open_episode(writer, reader):
    held = [reader[i] for i in range(4)]
    writer.evict(4)
    add(writer, *range(10, 16))
    assert not any(name.startswith("00000000") for name in os.listdir(os.path.join(writer.path, "segments")))
    for episode in held:
        check_rows(writer, episode.rows, episode.id, 10)


def test_a_late_reader_finds_what_was_moved_and_misses_what_is_gone(writer, reader):
    writer.delete([0, 2])
    writer.compact(1.0)
    found = reader.read([1, 3], [0, 0], 10)
    for b, i in enumerate((1, 3)):
        check_rows(reader, {name: column[b] for name, column in found.items()}, i, 10)
    with pytest.raises(UnknownEpisodeError, match="episode 0"):
        reader.read([0], [0], 1)
    writer.evict(1)
    assert [episode.id for episode in reader] == [3]


def test_iteration_leaves_out_what_leaves_meanwhile(writer):
    found = []
    for episode in writer:
        found.append(episode.id)
        if episode.id == 1:
            writer.delete([0, 2])
    assert found == [0, 1, 3]


def test_a_reader_opens_before_there_is_anything(folder, opened):
    with pytest.raises(StoreError, match=r"there is no store at .*/store yet; a writer makes it"):
        opened(folder / "store", read_only=True)
    writer = opened(folder / "store")
    reader = opened(folder / "store", read_only=True)
    assert (len(reader), reader.spec, list(reader)) == (0, None, [])
    with pytest.raises(UnknownEpisodeError):
        reader.read([0], [0], 1)
    writer.add_episode({"x": np.arange(3, dtype=np.int32)})
    assert reader.refresh()
    assert reader[0].rows["x"].tolist() == [0, 1, 2]


def test_there_is_one_writer(writer):
    with pytest.raises(StoreError, match=r"catalog.sqlite is open for writing already; there is one writer at a time"):
        jb.EpisodeStore(writer.path)
    path = writer.path
    writer.close()
    jb.EpisodeStore(path).close()


def test_a_reader_changes_nothing(writer, reader):
    calls = (
        lambda: reader.add_episode(rows(9, 3)),
        lambda: reader.evict(1),
        lambda: reader.delete([1]),
        lambda: reader.set([1], judgment=0.0),
        reader.compact,
        lambda: reader.writer(2),
    )
    for call in calls:
        with pytest.raises(StoreError, match="read_only=True: nothing can be written"):
            call()
    with pytest.raises(ConfigurationError, match="needs the path"):
        jb.EpisodeStore(read_only=True)


def test_a_store_that_nobody_can_write_is_read(writer, opened, folder):
    writer.close()
    shutil.copytree(writer.path, folder / "copy")
    for file in (folder / "copy").rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    (folder / "copy").chmod(0o555)
    store = opened(folder / "copy", read_only=True)
    check_rows(store, store[3].rows, 3, 10)
    for file in (folder / "copy", *(folder / "copy").rglob("*")):
        file.chmod(0o755)


def test_a_store_is_not_copied(make):
    with pytest.raises(WrongProcessError, match="Send its path"):
        pickle.dumps(make())


def test_other_rows_are_refused_by_name(writer, opened):
    for row in ({"x": np.float32(0)}, {**ROW, "reward": np.float16(0)}, {**ROW, "said": np.int32(0)}):
        with pytest.raises(StoreError, match=r"holds other rows.\s+stored: is_first: bool.*\s+given: "):
            opened(writer.path, row=row, read_only=True)
    path = writer.path
    writer.close()
    with pytest.raises(StoreError, match=r"holds other rows.\s+stored"):
        opened(path, row={"x": np.float32(0)})
    assert len(opened(path, row=ROW)) == 4


def test_rows_in_a_class_of_the_users_need_it_again(folder, opened):
    with opened(folder / "store") as store:
        store.add_episode(Own(np.zeros((3, 2), np.float32)))
    with pytest.raises(StoreError, match=r"rows made of .*Own: give row="):
        opened(folder / "store")
    with pytest.raises(StoreError, match="The leaves are the same, their containers are not"):
        opened(folder / "store", row={"x": np.zeros(2, np.float32)})
    store = opened(folder / "store", row=Own(np.zeros(2, np.float32)))
    assert isinstance(store[0].rows, Own)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="they are refused only where JAX would cut them")
def test_rows_of_64_bits_are_refused_where_jax_would_cut_them(folder, opened):
    with pytest.raises(DtypeError, match="64-bit types are off"):
        opened(folder / "store", row={"x": np.zeros((), np.float64)})


def test_another_version_and_another_file_are_refused_by_name(writer, opened):
    path = writer.path
    writer.close()
    database = sqlite3.connect(f"{path}/catalog.sqlite")
    database.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match=r"has format 2, this version of jaxbuffers reads up to 1: upgrade jaxbuffers"):
        opened(path)
    database.execute("PRAGMA user_version = 1")
    database.execute("PRAGMA application_id = 7")
    database.close()
    for read_only in (True, False):
        with pytest.raises(StoreError, match="is no episode store: another program made it"):
            opened(path, read_only=read_only)
    with pytest.raises(StoreError, match="cannot be a store: "):
        opened(f"{path}/catalog.sqlite")


def test_a_store_is_no_text_table_nor_the_other_way_round(writer, folder):
    with pytest.raises(jb.errors.TextFileError, match="is no text table"):
        jb.TextTable(f"{writer.path}/catalog.sqlite", read_only=True)
    (folder / "texts" / "segments").mkdir(parents=True)
    jb.TextTable(folder / "texts" / "catalog.sqlite").close()
    with pytest.raises(StoreError, match="is no episode store"):
        jb.EpisodeStore(folder / "texts")


def test_another_store_in_the_place_of_the_one_that_is_read_is_noticed(folder, writer, reader, opened):
    held = reader[0]
    writer.close()
    shutil.rmtree(writer.path)
    with pytest.raises(StoreError, match=r"catalog.sqlite was deleted or moved while the episode store was open; open"):
        reader.refresh()
    other = opened(writer.path, row=ROW, columns=COLUMNS, segment_bytes=26 * 25)
    add(other, *range(20, 30))
    for look in (reader.refresh, lambda: reader[2], lambda: reader.read([3], [0], 2), lambda: reader[7]):
        with pytest.raises(
            StoreError, match=r"catalog.sqlite was replaced by another .* open it anew to read"
        ) as error:
            look()
        assert not isinstance(error.value, jb.errors.DamagedError)
    assert len(reader) == 4
    assert repr(writer) == f"EpisodeStore({str(folder / 'store' / 'catalog.sqlite')!r}, closed)"
    assert held.rows["obs"].tobytes() == rows(0, 10)["obs"].tobytes(), "what is open already stays readable"
