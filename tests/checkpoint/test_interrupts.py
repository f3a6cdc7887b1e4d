"""Ctrl-C at any line of a save: the next one works, and nothing is left over."""

import gc
import linecache
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb

TREE = {"x": np.arange(10)}


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of this package; keeps what it interrupted, as a notebook does."""

    def __init__(self, number):
        self.left, self.came, self.where = number, None, ""

    def trace(self, frame, event, _):
        name, number = frame.f_code.co_filename.replace("\\", "/"), frame.f_lineno
        if "jaxbuffers/checkpoint" not in name and "jaxbuffers/texts" not in name:
            return None
        if frame.f_code.co_name == "__del__":  # there it is not raised, but printed
            return None
        # Python raises no signal before a block lets go, nor where one begins.
        if event == "line" and not linecache.getline(frame.f_code.co_filename, number).lstrip().startswith(
            ("with ", "try:")
        ):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.came, self.where = KeyboardInterrupt(), f"{os.path.basename(name)}:{number}"
                raise self.came
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, kind, *_):
        sys.settrace(self.before)
        return kind is KeyboardInterrupt


def each(work, after, kept=True, step=1):
    """Do one thing again and again, interrupted at other lines, each time followed by another, which must not fail.

    Returns how many lines it has.
    """
    for number in range(1, 10_000, step):
        with Interrupt(number) as interrupt:
            work(number)
        if interrupt.came is None:
            return number
        if not kept:
            interrupt.came = None
            gc.collect()
        try:
            after(number)
        except Exception as error:
            pytest.fail(f"after an interrupt in {interrupt.where}: {error!r}")
    raise AssertionError("it never ended without an interrupt")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_saves_to_one_path(tmp_path):
    def work(_):
        jb.checkpoint.save(tmp_path / "run", TREE, overwrite=True)

    def after(_):
        work(_)
        assert os.listdir(tmp_path) == ["run"]

    assert each(work, after) > 100


def test_a_manager(tmp_path):
    class Managers(dict):
        def __missing__(self, number):
            return self.setdefault(number, jb.checkpoint.Manager(tmp_path / str(number)))

    managers = Managers()

    def work(number):
        managers[number].save(1, TREE)

    def after(number):
        managers[number].save(2, TREE)
        managers[number].close()
        assert set(os.listdir(tmp_path / str(number))) <= {f"step-{step:012}.safetensors" for step in (1, 2)}

    count = each(work, after)
    managers[count].close()
    assert count > 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer it is printed
def test_the_lock_of_a_text_table(tmp_path):
    def work(_):
        jb.TextTable(tmp_path / "t.sqlite").close()

    def after(_):
        with jb.TextTable(tmp_path / "t.sqlite") as table:
            table.intern("x")

    assert each(work, after, kept=False, step=budget(31, 9)) > 100


@pytest.mark.parametrize("began", [False, True])
def test_a_thread_whose_start_is_interrupted_is_waited_for_or_never_writes(tmp_path, monkeypatch, began):
    """Otherwise it would write beside the next save."""
    real, threads = threading.Thread.start, []

    def start(thread):
        threads.append(thread)
        if began:
            real(thread)
        raise KeyboardInterrupt

    manager = jb.checkpoint.Manager(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            manager.save(1, TREE, background=True)
    manager.wait()
    if not began:
        real(threads[0])  # late
        threads[0].join()
    assert manager.steps() == [1] * began
    manager.save(1, TREE, overwrite=True)
    manager.close()


def test_a_lock_that_is_held_at_the_end_of_the_process_says_nothing(tmp_path):
    program = "import sys, jaxbuffers as jb; table = jb.TextTable(sys.argv[1])"
    call = [sys.executable, "-W", "error", "-c", program, tmp_path / "t.sqlite"]
    found = subprocess.run(call, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
