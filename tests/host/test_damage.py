"""A save that was changed in any way, or meets other texts than it was made with, is refused."""

import random
import shutil

import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import contents, seen, shell
from jaxbuffers.errors import StructureError, UnknownTextError
from jaxbuffers.texts import ids

CORRUPTIONS = 600


def saved():
    buffer = shell()
    for i in range(6):
        buffer.insert(mission=f"m{i}", notes=["note"], reward=i)
    return buffer, buffer.to_bytes()


def corruptions(data, dice):
    """Every kind of damage; each result differs from the data."""
    at = [dice.randrange(len(data)) for _ in range(3)]
    i, j, k = sorted(at)
    some = dice.randbytes(dice.randint(1, 40))
    yield bytes([*data[:i], data[i] ^ (1 << dice.randrange(8)), *data[i + 1 :]])  # a bit
    yield data[:i] + some + data[i + len(some) :]  # some bytes
    yield data[:i] + bytes(j - i) + data[j:]  # a hole
    yield data[:i]  # cut off
    yield data[i:]
    yield data[:i] + data[j:]
    yield data + some  # more
    yield data[:i] + some + data[i:]
    yield data[:i] + data[j:k] + data[i:j] + data[k:]  # parts that changed places
    yield data[: i // 4 * 4] + data[: j // 4 * 4] + data[j // 4 * 4 :]


def test_no_damage_is_overlooked():
    buffer, data = saved()
    other = shell(table=buffer.table)
    before, state, tried, dice = seen(other), other._state, 0, random.Random(0)
    while tried < CORRUPTIONS:
        for damaged in corruptions(data, dice):
            if damaged == data:
                continue
            tried += 1
            with pytest.raises(StructureError, match=r"damaged|no saved replay|format"):
                other.from_bytes(damaged)
            assert other._state is state
    assert seen(other) == before
    other.from_bytes(data)
    assert contents(other) == contents(buffer)


def test_saves_do_not_mix():
    """Of two saves the first half and the second half, at every border."""
    buffer, data = saved()
    buffer.insert(mission="later", notes=[], reward=7)
    later = buffer.to_bytes()
    assert len(data) == len(later)
    first = next(i for i, (a, b) in enumerate(zip(data, later, strict=True)) if a != b)
    for border in range(first + 1, len(data), 7):
        if (mixed := data[:border] + later[border:]) not in (data, later):
            with pytest.raises(StructureError, match="damaged"):
                buffer.from_bytes(mixed)


def test_another_version_is_named():
    buffer, data = saved()
    place = len(jb.host.saving.MAGIC)
    for version in (1, 3, 700):
        with pytest.raises(StructureError, match=f"format {version}, this version of jaxbuffers reads 2"):
            buffer.from_bytes(data[:place] + version.to_bytes(2, "big") + data[place + 2 :])


@pytest.mark.parametrize("data", [None, "text", 5, {}, [1], np.zeros(4), b"", b"\x85\xa6format\x01\xa3key\x82"])
def test_what_is_no_save_is_refused(data):
    with pytest.raises(StructureError, match=r"no saved replay|a saved replay is bytes"):
        shell().from_bytes(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_will_do_and_may_be_overwritten_afterwards(kind):
    buffer, data = saved()
    other, writable = shell(table=buffer.table), bytearray(data)
    other.from_bytes(writable if kind is bytearray else kind(bytes(writable)))
    writable[:] = bytes(len(writable))
    assert contents(other) == contents(buffer)
    assert other.to_bytes() == data


def elsewhere(monkeypatch):
    """As in another process, give ids from 1 again."""
    monkeypatch.setattr(ids, "_next", 0)


def test_the_same_ids_of_other_texts_are_refused(monkeypatch):
    texts = ["alpha", "ALPHA"], ["beta", "beta"], ["gamma", "gamma"]
    buffers = []
    for choice in (0, 1):
        elsewhere(monkeypatch)
        buffers.append(shell())
        for text in texts:
            buffers[-1].insert(mission=text[choice], notes=[], reward=0)
    one, other = buffers
    assert one.table.ids().tolist() == other.table.ids().tolist()
    before = seen(other)
    with pytest.raises(UnknownTextError, match=r"other texts under the ids.*-wal"):
        other.from_bytes(one.to_bytes())
    assert seen(other) == before
    other.table.intern(["more"])
    one.table.intern(["much", "more"])
    one.from_bytes(one.to_bytes())  # a table may have grown meanwhile


def test_a_file_that_was_copied_without_its_log_is_refused(tmp_path, monkeypatch):
    first, copied = tmp_path / "first.sqlite", tmp_path / "copied.sqlite"
    elsewhere(monkeypatch)
    jb.TextTable(first).close()
    with jb.TextTable(first) as table:
        buffer = shell(table=table)
        buffer.insert(mission="alpha", notes=[], reward=0)
        table.commit()
        data = buffer.to_bytes()
        shutil.copy(first, copied)  # what was committed is in first.sqlite-wal
    elsewhere(monkeypatch)
    with jb.TextTable(copied) as table:
        other = shell(table=table)
        other.insert(mission="BETA", notes=[], reward=1)
        with pytest.raises(UnknownTextError, match=r"-wal"):
            other.from_bytes(data)
        assert contents(other) == [("BETA", [None] * 3, 1.0)]
