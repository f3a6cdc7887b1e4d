"""A byte that has changed anywhere in a file is found, and named; never data."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb

FLIPS = budget(150, 1500)


def everything():
    """A tree with a buffer, texts, keys, small and large arrays."""
    replay = jb.Replay(8, None, 2, jb.Items(), jb.Prioritized())
    buffer = jb.HostReplay(replay, {"obs": jb.text, "image": jax.ShapeDtypeStruct((40,), np.uint8)})
    for i in range(5):
        buffer.insert(obs=f"text {i}", image=np.full(40, i, np.uint8))
    return {"buffer": buffer, "key": jax.random.key(0), "big": jnp.arange(500.0), "empty": jnp.zeros((0, 3)), "step": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "run"
    tree = everything()
    jb.checkpoint.save(path, tree, metadata={"note": "x"})
    return path, path.read_bytes(), everything()


def refused(path, data, like):
    path.write_bytes(data)
    with pytest.raises(jb.errors.DamagedCheckpointError) as found:
        jb.checkpoint.restore(path, like)
    assert str(path) in str(found.value)


def test_a_flipped_bit_anywhere_is_found(saved, tmp_path, capsys):
    _, data, like = saved
    before = like["buffer"].to_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    choose = random.Random(0)
    regions = {
        "length": range(8),
        "header": range(8, header),
        "arrays": range(header, len(data)),
        "sums": range(len(data) - 60, len(data)),
    }
    count = 0
    for region in regions.values():
        for _ in range(min(FLIPS // len(regions), 8 * len(region))):
            place, bit = choose.choice(region), 1 << choose.randrange(8)
            changed = bytearray(data)
            changed[place] ^= bit
            refused(tmp_path / "run", bytes(changed), like)
            count += 1
    with capsys.disabled():
        print(f"\n{count} flipped bits, 0 read as data")
    assert like["buffer"].to_bytes() == before
    (tmp_path / "run").write_bytes(data)  # and unharmed it is read
    assert len(jb.checkpoint.restore(tmp_path / "run", everything()).tree["buffer"]) == 5


def test_every_byte_of_a_small_checkpoint_counts(tmp_path):
    jb.checkpoint.save(tmp_path / "run", jnp.arange(3))
    data = (tmp_path / "run").read_bytes()
    for place in range(0, len(data), budget(7, 1)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        refused(tmp_path / "run", bytes(changed), jnp.arange(3))


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "zeros", "swapped", "text"])
def test_files_that_are_damaged_otherwise(saved, tmp_path, change):
    _, data, like = saved
    header = 8 + int.from_bytes(data[:8], "little")
    middle = (header + len(data)) // 2
    changed = {
        "cut": [data[:n] for n in (1, 7, 8, 100, header - 1, header, middle, len(data) - 1)],
        "longer": [data + b"\0", data + data],
        "empty": [b""],
        "zeros": [data[:middle] + bytes(len(data) - middle), bytes(len(data))],
        "swapped": [
            data[:header] + data[header + 64 : header + 128] + data[header : header + 64] + data[header + 128 :]
        ],
        "text": [b"hello", b'{"a": 1}' * 100, (8).to_bytes(8, "little") + b"[]      " + bytes(20)],
    }
    for each in changed[change]:
        assert each != data
        refused(tmp_path / "run", each, like)


def test_a_file_of_another_program_is_refused(tmp_path):
    """A whole file in the same format, without what is ours."""
    from jaxbuffers.checkpoint import file

    file.write(str(tmp_path / "run"), {"format": "pt"}, {"weights": np.zeros(3)})
    with pytest.raises(jb.errors.DamagedCheckpointError, match="run is no checkpoint of jaxbuffers"):
        jb.checkpoint.restore(tmp_path / "run", jnp.zeros(3))
    with pytest.raises(jb.errors.CheckpointError, match="is not overwritten"):
        jb.checkpoint.save(tmp_path / "run", 1, overwrite=True)
