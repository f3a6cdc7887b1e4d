"""A replay that does not fit says how many bytes it takes and what would fit, before or when it is allocated."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers import memory
from jaxbuffers.errors import OutOfMemoryError
from jaxbuffers.row import RowSpec

FRAME = {"obs": jax.ShapeDtypeStruct((64, 64, 3), jnp.uint8)}
FRAMES = jb.Replay(1_000_000, 8)
GB = 10**9


class Device:
    platform = "gpu"

    def __init__(self, limit, used=0):
        self.limit, self.used = limit, used

    def memory_stats(self):
        return {"bytes_limit": self.limit, "bytes_in_use": self.used}


def test_bytes_are_known_before_they_are_allocated():
    assert memory.written(FRAMES.nbytes(FRAME)) == "12.3 GB"
    assert FRAMES.nbytes(FRAME) == 1_000_000 * 64 * 64 * 3 + 2 * 8 * 4 + 2 * 4


def test_what_would_fit_is_said_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(memory, "_of_host", lambda: 8 * GB)
    with pytest.raises(OutOfMemoryError) as error:
        FRAMES.init(FRAME)
    text = str(error.value)
    assert "capacity=1000000 takes 12.3 GB, 12.3 kB a row, and there are" in text
    assert "jb.Sharded or a jb.EpisodeStore" in text
    fits = int(text.split("capacity=")[2].split()[0])
    assert fits % 8 == 0
    assert jb.Replay(fits, 8).nbytes(FRAME) <= 8 * GB < jb.Replay(fits + 800, 8).nbytes(FRAME)
    assert isinstance(error.value, MemoryError)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("sampler", [jb.Prioritized(), jb.WithoutReplacement(), jb.RankBased()])
def test_what_is_said_to_fit_does_whatever_else_the_replay_holds(sampler, share):
    replay, spec = jb.Replay(2050, 2, sampler=sampler), RowSpec.of({"x": jnp.float32(0)})
    room = int(share * replay.nbytes({"x": jnp.float32(0)}))
    fits = memory.fitting(replay, spec, room)
    assert 0.75 * share * 2050 < fits < 2050
    assert replace(replay, capacity=fits).nbytes({"x": jnp.float32(0)}) <= room
    assert memory.fitting(replay, spec, 8) == 0


def test_nothing_is_asked_where_nothing_is_allocated(monkeypatch):
    monkeypatch.setattr(memory, "_of_host", lambda: 8)
    jax.eval_shape(lambda: FRAMES.init(FRAME))
    FRAMES.nbytes(FRAME)
    jb.Replay(16, 8).init(FRAME)  # small


def test_not_even_one_window(monkeypatch):
    monkeypatch.setattr(memory, "_of_host", lambda: 20_000)
    with pytest.raises(OutOfMemoryError, match="not one window of each of 8 streams would fit"):
        FRAMES.init(FRAME)


def test_an_allocation_that_fails_says_so_where_nobody_knew(monkeypatch):
    monkeypatch.setattr(memory, "_of_host", lambda: None)
    huge = jb.Replay(2**30, 8)
    with pytest.raises(OutOfMemoryError, match="more than the device has left"):
        huge.init({"obs": jax.ShapeDtypeStruct((2**20, 2**10), jnp.uint8)})


def test_what_is_free_on_an_accelerator_counts():
    assert memory.room_on([Device(80 * GB, 30 * GB)]) == 50 * GB
    assert memory.room_on([Device(80 * GB), Device(80 * GB, 60 * GB)], parts=2) == 40 * GB
    assert memory.room_on(jax.devices()[:1]) == memory._of_host()


def test_host_memory_is_that_of_the_container(tmp_path, monkeypatch):
    for written, expected in (("1000\n", 1000), ("max\n", None)):
        (tmp_path / "limit").write_text(written)
        monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "limit",))
        assert expected in (None, memory._of_host())
        assert memory._of_host() > 0


@pytest.mark.skipif(len(jax.devices()) < 2, reason="needs 2 devices")
def test_shards_have_more_together(monkeypatch):
    replay = jb.Replay(10_000, 4, 4)
    sharded = jb.Sharded(replay, jax.make_mesh((2,), ("data",), devices=jax.devices()[:2]))
    monkeypatch.setattr(memory, "_of_host", lambda: 100_000_000)
    with pytest.raises(OutOfMemoryError, match="capacity=10000 takes 122") as error:
        sharded.init(FRAME)
    fits = int(str(error.value).split("capacity=")[2].split()[0])
    larger, largest = (replace(sharded, replay=replace(replay, capacity=fits + more)) for more in (0, 4))
    assert larger.nbytes(FRAME) <= 100_000_000 < largest.nbytes(FRAME)
    assert sharded.nbytes(FRAME) - replay.nbytes(FRAME) == 8  # two counters of the second shard
    assert np.prod(sharded.mesh.devices.shape) == 2


@pytest.mark.parametrize(
    "obs, action, most", [((64, 64, 3), 6, 1.001), ((84, 84, 4), 1, 1.001), (17, 6, 1.06), (4, 1, 1.19)], ids=str
)
def test_rows_take_little_more_than_their_own_bytes(obs, action, most):
    flag, pixels = jnp.bool_(False), isinstance(obs, tuple)
    row = jb.Row(jnp.zeros(obs, jnp.uint8 if pixels else jnp.float32), jnp.zeros(action), jnp.float32(0), *[flag] * 3)
    own = sum(x.nbytes for x in jax.tree.leaves(row))
    plain, prioritized = (
        jb.Replay(2**17, 16, 1, jb.Transitions(), sampler, layout="flat").nbytes(row) / 2**17
        for sampler in (jb.Uniform(), jb.Prioritized())
    )
    assert own <= plain <= most * own
    assert prioritized - plain < 4 * 16 / 15 + 0.01  # a float a row, and its sums
