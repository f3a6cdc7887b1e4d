"""Another program reads a store by what docs/formats.md says, and by nothing else."""

import json
import os
import sqlite3
import zlib

import ml_dtypes
import numpy as np

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, opened, rows

NAMES = {"BOOL": np.bool_, "U8": np.uint8, "I32": np.int32, "F32": np.float32, "BF16": ml_dtypes.bfloat16}


def tensors(path):
    """Read a safetensors file: a length, so much JSON, and bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = header.pop("__metadata__")
    ends = sorted(entry["data_offsets"] for entry in header.values())
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends[:-1])], "no holes"
    assert 8 + size + ends[-1][1] == len(data), "nothing behind"
    assert all(isinstance(value, str) for value in about.values())
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(data[8 + size + begin : 8 + size + end], NAMES[entry["dtype"]])
        found[name] = flat.reshape(entry["shape"])
    return found, about


def test_a_store_is_read_without_the_library(folder):
    with opened(folder / "store", segment_bytes=26 * 40) as store:
        for key, length in enumerate([10, 20, 30, 100, 5]):
            store.add_episode(rows(key, length), {"key": key}, stream=key)
    database = sqlite3.connect(folder / "store" / "catalog.sqlite")
    notes = dict(database.execute("SELECT name, value FROM notes").fetchall())
    leaves = json.loads(notes["row"])["leaves"]
    texts = dict(database.execute("SELECT id, data FROM texts").fetchall())
    query = 'SELECT id, length, segment, "offset", "return", ending, stream, key FROM episodes ORDER BY id'
    episodes = database.execute(query).fetchall()
    assert len(episodes) == 5
    block = 2**16 // 15
    for i, length, segment, offset, total, ending, stream, key in episodes:
        found, about = tensors(folder / "store" / "segments" / f"{segment:08d}.safetensors")
        assert about["format"] == "jaxbuffers.episodes"
        assert about["store"] == json.loads(notes["identity"])
        assert int(about["segment"]) == segment
        expected = rows(key, length)
        assert {".".join(leaf["path"]) for leaf in leaves} == set(found)
        part = {name: column[offset : offset + length] for name, column in found.items()}
        said = [texts[i].decode() for i in part.pop("said").tolist()]
        assert said == expected["said"]
        for name, column in part.items():
            assert np.array_equal(column, expected[name])
        assert (total, ending, stream) == (
            expected["reward"].sum(), "terminated" if key % 2 == 0 else "truncated", key,
        )  # fmt: skip
        (sums,) = database.execute("SELECT data FROM checksums WHERE id = ?", (i,)).fetchone()
        assert zlib.crc32(sums[:-4], i) == int.from_bytes(sums[-4:], "little")
        sums = np.frombuffer(sums[:-4], "<u4").reshape(-1, len(leaves))
        assert len(sums) == -(-length // block)
        names = [".".join(leaf["path"]) for leaf in leaves]
        assert sums[0, names.index("obs")] == zlib.crc32(expected["obs"][:block].tobytes())
    database.close()


def test_types_that_safetensors_has_not_are_their_bytes(folder):
    x = np.array([1 + 2j, 3 - 1j], np.complex64)
    with jb.EpisodeStore(folder / "store", segment_bytes=64) as store:
        store.add_episode({"x": x, "half": np.array([0.5, 2], ml_dtypes.bfloat16)})
    found, _ = tensors(folder / "store" / "segments" / "00000000.safetensors")
    assert found["x"].shape[1:] == (8,)
    assert found["x"][:2].tobytes() == x.tobytes()
    assert found["half"][:2].tolist() == [0.5, 2]


def test_room_that_is_not_used_yet_takes_no_disk(folder):
    with jb.EpisodeStore(folder / "store", row=ROW, columns=COLUMNS) as store:
        store.add_episode(rows(0, 10), {"key": 0})
        path = os.path.join(store.path, "segments", "00000000.safetensors")
        assert os.path.getsize(path) > 2**27
        assert os.stat(path).st_blocks * 512 < 2**20


def test_leaves_of_one_name_are_told_apart(folder):
    given = {"a.b": np.arange(3, dtype=np.int32), "a": {"b": np.arange(3, 6, dtype=np.int32)}}
    with jb.EpisodeStore(folder / "store", segment_bytes=64) as store:
        store.add_episode(given)
        assert store[0].rows["a"]["b"].tolist() == [3, 4, 5]
    found, _ = tensors(folder / "store" / "segments" / "00000000.safetensors")
    assert sorted(column[0].item() for column in found.values()) == [0, 3]


def test_no_two_leaves_ever_have_one_name(folder):
    """Also where one is called as another would be once it is told apart."""
    path, one = folder / "store", np.arange(3, dtype=np.int32)
    given = {"p.q": one, "p": {"q": one + 10}, "p.q#0": one + 20, "p.q#1": one + 30, "__metadata__": one + 40}
    with jb.EpisodeStore(path, segment_bytes=64) as store:
        store.add_episode(given)
        layout = store._core.made.layout
        assert len(set(layout.names)) == 5
        assert "__metadata__" not in layout.names
        assert {"p.q#0", "p.q#1"} <= set(layout.names), "who has a name for itself keeps it"
    found, _ = tensors(path / "segments" / "00000000.safetensors")
    assert sorted(column[0].item() for column in found.values()) == [0, 10, 20, 30, 40]
    with jb.EpisodeStore(path) as store:
        assert store[0].rows["p"]["q"].tolist() == [10, 11, 12]
