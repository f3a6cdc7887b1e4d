"""A full disk, a failing system, Ctrl-C: an error with a name, the old checkpoint whole, nothing left over."""

import contextlib
import errno
import os
import re

import jax.numpy as jnp
import pytest

import jaxbuffers as jb

OLD, NEW = {"x": jnp.zeros(70_000), "y": 1}, {"x": jnp.ones(70_000), "y": 2}


class Failing:
    """A call of ``os`` that fails the n-th time, if there is one."""

    def __init__(self, monkeypatch, name, n, error):
        self.left, self.real, self.error = n, getattr(os, name), error
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args, **kwargs):
        if self.left == 0:
            self.left = -1
            raise self.error
        self.left -= 1
        return self.real(*args, **kwargs)

    @property
    def failed(self):
        return self.left == -1


def no_space():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def value(path):
    tree = jb.checkpoint.restore(path, OLD).tree
    assert bool((tree["x"] == tree["y"] - 1).all()), "half of one, half of the other"
    return tree["y"]


@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
def test_a_disk_that_is_full_at_any_call(tmp_path, monkeypatch, name):
    path, failures = tmp_path / "run", 0
    monkeypatch.setattr("jaxbuffers.checkpoint.file.CHUNK", 100_000)  # several writes for one array
    for n in range(100):
        jb.checkpoint.save(path, OLD, overwrite=True)
        with monkeypatch.context() as patch:
            call = Failing(patch, name, n, no_space())
            try:
                jb.checkpoint.save(path, NEW, overwrite=True)
            except jb.errors.CheckpointError as error:
                said = str(error)
            else:
                said = None
        assert call.failed == (said is not None)
        failures += call.failed
        if call.failed:
            assert re.search("run.*No space left on device", said)
            # Published, and still an error, where only the name could not be made durable.
            assert value(path) in ((1, 2) if name in ("open", "fsync") else (1,))
        if not call.failed:
            break
        assert [each.name for each in tmp_path.iterdir()] == ["run"]
        jb.checkpoint.save(path, NEW, overwrite=True)  # once there is room
        assert value(path) == 2
    assert failures >= {"write": 4, "open": 1, "fsync": 2, "replace": 1}[name]


@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
def test_ctrl_c_at_any_call(tmp_path, monkeypatch, name):
    path = tmp_path / "run"
    for n in range(100):
        jb.checkpoint.save(path, OLD, overwrite=True)
        with monkeypatch.context() as patch:
            call = Failing(patch, name, n, KeyboardInterrupt())
            with contextlib.suppress(KeyboardInterrupt):
                jb.checkpoint.save(path, NEW, overwrite=True)
        assert value(path) in ((1, 2) if call.failed else (2,))
        assert [each.name for each in tmp_path.iterdir()] == ["run"]
        if not call.failed:
            break
    assert n > 0


def test_a_write_that_takes_only_a_part_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: 1 + len(data) // 3]))
    jb.checkpoint.save(tmp_path / "run", NEW)
    assert value(tmp_path / "run") == 2


def test_a_disk_that_is_full_in_the_background_is_told_by_the_next_call(tmp_path, monkeypatch):
    manager = jb.checkpoint.Manager(tmp_path)
    manager.save(1, OLD)
    for surfaces in (manager.wait, lambda: manager.save(9, NEW), manager.close):
        with monkeypatch.context() as patch:
            Failing(patch, "write", 1, no_space())
            manager.save(2, NEW, background=True)
            manager._background._thread.join()
        with pytest.raises(jb.errors.CheckpointError, match=r"step-000000000002.*No space left on device"):
            surfaces()
        assert manager.steps() == [1]
    assert sorted(os.listdir(tmp_path)) == ["step-000000000001.safetensors"]
    with jb.checkpoint.Manager(tmp_path) as again:
        again.save(2, NEW)
        assert again.steps() == [1, 2]


def test_a_folder_that_cannot_be_written(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(jb.errors.CheckpointError, match=r"cannot be written: .*Permission denied"):
        jb.checkpoint.save(tmp_path / "run", OLD)
    tmp_path.chmod(0o700)
