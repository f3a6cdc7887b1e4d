"""A run that goes on: after damage, beside others in one folder, after a failure that nobody looked for."""

import gc
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import file

from .test_failing_writes import Failing, no_space


@pytest.fixture
def manager(tmp_path):
    with jb.checkpoint.Manager(tmp_path / "run", keep=2) as manager:
        yield manager


def flip(path, at):
    with open(path, "r+b") as written:
        written.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = written.read(1)
        written.seek(-1, os.SEEK_CUR)
        written.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("at", [-1, 300, -2000, 100])
def test_a_run_that_went_back_behind_a_damaged_step_saves_that_step_again(manager, at):
    for step in (8, 9):
        manager.save(step, {"x": np.full(1000, step)})
    like = {"x": np.zeros(1000, int)}
    flip(manager.path(9), at)
    assert manager.restore(like, fallback=True).step == 8
    manager.save(9, {"x": np.full(1000, 90)})
    assert manager.restore(like).tree["x"][0] == 90
    with pytest.raises(jb.errors.CheckpointError, match="exists already"):
        manager.save(9, like)


def test_a_file_of_somebody_else_is_no_damaged_step(manager):
    with open(manager.path(1), "w") as file:
        file.write("mine" * 100)
    with pytest.raises(jb.errors.CheckpointError, match="exists already"):
        manager.save(1, {})


def test_a_manager_leaves_what_another_save_in_its_folder_writes(manager):
    part = os.path.join(manager.folder, "best.0123abcd.part")
    with open(part, "w"):
        pass
    manager.save(1, {})
    assert os.path.exists(part)


@pytest.mark.parametrize("call", ["restore", "metadata"])
def test_a_step_that_the_writer_deletes_meanwhile_is_looked_for_again(manager, monkeypatch, call):
    manager.save(1, {"x": 1}, metadata=1)
    real, times = jb.checkpoint.Manager.steps, []

    def late(self):
        found = real(self)
        if not times:
            times.append(1)
            manager.save(2, {"x": 2}, metadata=2)
            os.remove(manager.path(1))
        return found

    reader = jb.checkpoint.Manager(manager.folder)
    monkeypatch.setattr(jb.checkpoint.Manager, "steps", late)
    assert (reader.metadata() if call == "metadata" else reader.restore({"x": 0}).tree["x"]) == 2


def test_what_a_signal_handler_saved_meanwhile_is_not_replaced(manager, monkeypatch):
    def handler(*_):
        manager.save(1, {"x": "handler"})

    before = signal.signal(signal.SIGTERM, handler)
    real = os.fsync

    def interrupted(descriptor):
        monkeypatch.setattr(os, "fsync", real)
        signal.raise_signal(signal.SIGTERM)
        return real(descriptor)

    try:
        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(jb.errors.CheckpointError, match="exists already"):
            manager.save(1, {"x": "loop"})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert manager.restore({"x": ""}).tree == {"x": "handler"}
    assert len(os.listdir(manager.folder)) == 2  # and the lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_while_a_thread_saves_can_save(manager, monkeypatch, tmp_path):
    began, go, real = threading.Event(), threading.Event(), file.write

    def slow(*args):
        began.set()
        assert go.wait(60)
        return real(*args)

    monkeypatch.setattr(file, "write", slow)
    threads = [threading.Thread(target=manager.save, args=(1, {}))]
    threads.append(threading.Thread(target=jb.checkpoint.save, args=(tmp_path / "one", {})))
    for thread in threads:
        thread.start()
        assert began.wait(60)
        began.clear()
    if not (child := os.fork()):
        signal.alarm(20)  # ends it, with another status
        file.write = real
        try:
            jb.checkpoint.save(tmp_path / "child", {})
            manager.save(2, {})
        except jb.errors.WrongProcessError:
            os._exit(7)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go.set()
    for thread in threads:
        thread.join()
    assert status == 7
    assert jb.checkpoint.restore(tmp_path / "child", {}).tree == {}


PROGRAM = """
import errno, sys
import jaxbuffers as jb
from jaxbuffers.checkpoint import file
manager = jb.checkpoint.Manager(sys.argv[1])
def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
file._write = full
manager.save(2, {}, background=True)
"""


def test_a_last_save_that_failed_is_told_at_the_end_of_the_process(tmp_path):
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path], capture_output=True, text=True)
    assert "CheckpointError: what was saved in the background is not there: CheckpointError: " in found.stderr
    assert "step-000000000002.safetensors" in found.stderr
    assert "No space left" in found.stderr


def test_a_manager_that_is_forgotten_tells_what_failed_and_one_that_was_asked_does_not(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(str(found.exc_value)))
    for asked in (True, False):
        manager = jb.checkpoint.Manager(tmp_path)
        with monkeypatch.context() as patch:
            Failing(patch, "write", 0, no_space())
            manager.save(1, {}, background=True)
            manager._background._thread.join()
        if asked:
            with pytest.raises(jb.errors.CheckpointError):
                manager.close()
        del manager
        gc.collect()
        assert len(said) == (not asked)
    assert "step-000000000001" in said[0]
