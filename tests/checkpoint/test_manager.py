"""Numbered checkpoints: rotation, the newest whole one, the background, one writer."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import file, publish

from .same import assert_same


@pytest.fixture
def manager(tmp_path):
    with jb.checkpoint.Manager(tmp_path / "run", keep=3) as manager:
        yield manager


def tree(step):
    return {"x": jnp.full(1000, step, jnp.int32), "key": jax.random.key(step)}


def test_the_newest_are_kept_and_restored_by_number(manager):
    for step in (0, 5, 10, 20, 40):
        manager.save(step, tree(step), metadata=step)
    assert manager.steps() == [10, 20, 40]
    for step, found in ((None, 40), (20, 20), (10, 10)):
        restored = manager.restore(tree(0), step)
        assert_same(restored.tree, tree(found))
        assert (restored.step, restored.metadata, restored.path) == (found, found, manager.path(found))
    with pytest.raises(jb.errors.CheckpointError, match=r"step-000000000005.* does not exist"):
        manager.restore(tree(0), 5)


def test_keep_none_keeps_all_and_an_empty_folder_says_so(tmp_path):
    with jb.checkpoint.Manager(tmp_path, keep=None) as manager:
        with pytest.raises(jb.errors.CheckpointError, match="holds no checkpoint"):
            manager.restore(0)
        for step in range(6):
            manager.save(step, step)
        assert manager.steps() == [*range(6)]
    assert sorted(os.listdir(tmp_path)) == [f"step-{step:012}.safetensors" for step in range(6)]
    for keep in (0, -1, True, 1.5):
        with pytest.raises(jb.errors.ConfigurationError, match="keep must be an int of at least 1"):
            jb.checkpoint.Manager(tmp_path, keep=keep)


def test_the_oldest_is_there_until_the_new_one_is(manager, monkeypatch):
    for step in range(3):
        manager.save(step, step)
    seen = []
    real = publish.publish

    def watched(path, write):
        seen.append(("before", manager.steps()))
        real(path, write)
        seen.append(("after", manager.steps()))

    monkeypatch.setattr("jaxbuffers.checkpoint.saving.publish", watched)
    manager.save(3, 3)
    assert seen == [("before", [0, 1, 2]), ("after", [0, 1, 2, 3])]
    assert manager.steps() == [1, 2, 3]
    monkeypatch.setattr("jaxbuffers.checkpoint.saving.publish", lambda path, write: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        manager.save(4, 4)
    assert manager.steps() == [1, 2, 3]


def test_a_step_is_not_overwritten_unless_asked_for(manager):
    manager.save(1, 10)
    with pytest.raises(jb.errors.CheckpointError, match="exists already"):
        manager.save(1, 11)
    manager.save(1, 12, overwrite=True)
    assert manager.restore(0).tree == 12


def damage(path):
    with open(path, "r+b") as written:
        written.seek(-100, os.SEEK_END)
        byte = written.read(1)
        written.seek(-100, os.SEEK_END)
        written.write(bytes([byte[0] ^ 1]))


def test_a_damaged_one_is_an_error_and_an_earlier_one_is_taken_only_if_asked_for(manager):
    for step in range(3):
        manager.save(step, tree(step))
    damage(manager.path(2))
    with pytest.raises(jb.errors.DamagedCheckpointError, match="step-000000000002"):
        manager.restore(tree(0))
    found = manager.restore(tree(0), fallback=True)
    assert found.step == 1
    assert_same(found.tree, tree(1))
    with pytest.raises(jb.errors.ShapeError):  # what does not fit is no damage
        manager.restore({"x": jnp.zeros(3, jnp.int32), "key": jax.random.key(0)}, fallback=True)
    damage(manager.path(1)), damage(manager.path(0))
    with pytest.raises(jb.errors.DamagedCheckpointError, match="step-000000000000"):
        manager.restore(tree(0), fallback=True)
    manager.save(2, tree(2), overwrite=True)
    assert_same(manager.restore(tree(0)).tree, tree(2))


def test_arrays_may_be_donated_and_written_to_right_after_saving_in_the_background(manager, monkeypatch):
    """The file is written only once all that could spoil it has happened."""
    go, real = threading.Event(), file.write

    def late(*args, **kwargs):
        assert go.wait(60)
        return real(*args, **kwargs)

    monkeypatch.setattr(file, "write", late)
    step = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)
    x, mine = jax.block_until_ready(step(jnp.arange(50_000))), np.arange(10)
    expected = np.array(x)
    place = x.unsafe_buffer_pointer()
    manager.save(1, {"x": x, "mine": mine}, background=True)
    assert manager._background.busy
    for _ in range(3):
        x = jax.block_until_ready(step(x))
    assert x.unsafe_buffer_pointer() == place, "it was not updated in place: the snapshot holds on to it"
    mine[:] = -1
    assert manager.steps() == []
    go.set()
    manager.wait()
    found = manager.restore({"x": x, "mine": mine}).tree
    np.testing.assert_array_equal(found["x"], expected)
    assert found["mine"].tolist() == [*range(10)]


def test_saves_in_the_background_come_one_after_another_and_close_waits(tmp_path):
    with jb.checkpoint.Manager(tmp_path, keep=2) as manager:
        for step in range(7):
            manager.save(step, tree(step), background=True)
    assert manager.steps() == [5, 6]
    assert sorted(os.listdir(tmp_path)) == [f"step-{step:012}.safetensors" for step in (5, 6)]
    with pytest.raises(jb.errors.CheckpointError, match="was closed"):
        manager.save(8, 8)
    manager.close()


def test_a_second_manager_is_refused_until_the_first_is_closed_and_may_read_meanwhile(tmp_path):
    first, second = (jb.checkpoint.Manager(tmp_path) for _ in range(2))
    first.save(1, 1)
    with pytest.raises(jb.errors.CheckpointError, match="is being written by another process or another manager"):
        second.save(2, 2)
    assert second.restore(0).tree == 1
    first.close()
    second.save(2, 2)
    assert second.steps() == [1, 2]
    second.close()


def test_threads_share_a_manager(manager):
    def work(start):
        for step in range(start, start + 8):
            manager.save(step, tree(step), background=step % 2 == 0)

    threads = [threading.Thread(target=work, args=(start,)) for start in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manager.wait()
    assert manager.steps()[-3:] == [205, 206, 207]
    assert len(manager.steps()) <= 4  # one that was saved out of turn
    for step in manager.steps():
        assert_same(manager.restore(tree(0), step).tree, tree(step))


def test_threads_save_to_one_path_one_after_another(tmp_path):
    def work(number):
        for _ in range(5):
            jb.checkpoint.save(tmp_path / "run", tree(number), overwrite=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = jb.checkpoint.restore(tmp_path / "run", tree(0)).tree
    assert_same(found, tree(int(found["x"][0])))
    assert os.listdir(tmp_path) == ["run"]


def test_leftovers_of_killed_saves_are_cleaned_and_nothing_else(tmp_path):
    keep = ["run.other.0123abcd.part", "run.part", "run.0123abcd.part.txt", "mine.0123abcd.partly"]
    for name in ("run.0123abcd.part", "run.lock", *keep):
        (tmp_path / name).write_text("x")
    jb.checkpoint.save(tmp_path / "run", 1)
    assert sorted(os.listdir(tmp_path)) == sorted([*keep, "run"])
    with jb.checkpoint.Manager(tmp_path / "folder") as manager:
        for name in ("step-000000000001.safetensors.0123abcd.part", "notes.txt"):
            (tmp_path / "folder" / name).write_text("x")
        manager.save(2, 2)
        assert manager.steps() == [2]
    assert sorted(os.listdir(tmp_path / "folder")) == ["notes.txt", "step-000000000002.safetensors"]


def test_a_signal_handler_may_save_what_the_loop_is_saving(tmp_path):
    """As those that save on SIGTERM do."""
    path, said = tmp_path / "run", []

    def handler(*_):
        jb.checkpoint.save(f"{path}-last", tree(9))
        said.append("saved")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        real = os.fsync

        def interrupted(descriptor):
            os.fsync = real
            signal.raise_signal(signal.SIGTERM)
            return real(descriptor)

        os.fsync = interrupted
        jb.checkpoint.save(path, tree(1))
    finally:
        os.fsync = real
        signal.signal(signal.SIGTERM, before)
    assert said == ["saved"]
    assert_same(jb.checkpoint.restore(path, tree(0)).tree, tree(1))
    assert_same(jb.checkpoint.restore(f"{path}-last", tree(0)).tree, tree(9))


def test_a_thread_in_a_section_of_a_buffer_may_save_it_while_another_one_does(tmp_path):
    """Both locks are taken in one order."""
    buffer = jb.HostReplay(jb.Replay(8, None, 2, jb.Items()), {"x": np.float32})
    buffer.insert(x=1.0)
    manager = jb.checkpoint.Manager(tmp_path / "folder")

    def work(number):
        for i in range(10):
            with buffer.section():
                jb.checkpoint.save(tmp_path / "one", buffer, overwrite=True)
                manager.save(100 * number + i, buffer)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for i in range(10):
        jb.checkpoint.save(tmp_path / "one", buffer, overwrite=True)
        manager.save(i, buffer, background=True)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "they wait for each other"
    manager.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_does_not_save_in_place_of_its_parent(tmp_path):
    manager = jb.checkpoint.Manager(tmp_path)
    manager.save(1, 1)
    if not (child := os.fork()):
        try:
            manager.save(2, 2)
        except jb.errors.WrongProcessError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with pytest.raises(jb.errors.CheckpointError, match="being written"):
        jb.checkpoint.Manager(tmp_path).save(3, 3)
    manager.save(2, 2)
    manager.close()
    assert manager.steps() == [1, 2]
