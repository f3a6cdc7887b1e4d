"""What processes say to each other when they save together, and what is left when one of them cannot.

Threads stand for processes here, and a dict for the service of jax.distributed; tests/hosts has the real ones.
"""

import errno
import json
import threading
import time
from contextlib import ExitStack

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import file, peers, publish, shares
from jaxbuffers.checkpoint.saving import check_place
from jaxbuffers.checkpoint.snapshot import Snapshot
from jaxbuffers.checkpoint.together import put_together

LEAF = {"kind": "array", "dtype": "int32", "shape": [3], "split": True}
WORDS = {"format": 2, "versions": {}, "made_by": {}, "parts": {}, "tables": {}, "metadata": None}


class Service:
    """Keys with values, for which one can wait."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value):
        with self.changed:
            if key in self.values:
                raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
            self.values[key] = value
            self.changed.notify_all()

    def key_value_delete(self, folder):
        with self.changed:
            self.values = {key: value for key, value in self.values.items() if not key.startswith(folder)}

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, milliseconds / 1000):
                raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")
            return self.values[key]


def snapshot(number, local=0, value=0):
    """An array of three elements, of which each process has one."""
    words = WORDS | {"leaves": {"x": LEAF, "local": {"kind": "int", "value": local}}}
    return Snapshot(words, {}, {"x": [(((number, number + 1),), np.array([value + number], np.int32))]})


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Have three processes save together, each with what a dict says of it; return what each of them raised."""
    service = Service()
    monkeypatch.setattr(peers, "_client", lambda: service)
    saves = iter(range(100))

    def run(each=None, timeout=20.0, absent=(), late=(), **given):
        key, raised = f"save {next(saves)}", {}

        def process(number):
            meeting = peers.Meeting(peers.Peers((0, 1, 2), number, timeout))
            meeting._key = key
            if number in late:
                time.sleep(3 * timeout)
            try:
                put_together(
                    str(tmp_path / "run"), snapshot(number, **given | (each or {}).get(number, {})), int, meeting
                )
            except jb.errors.CheckpointError as error:
                raised[number] = str(error)

        threads = [threading.Thread(target=process, args=(i,)) for i in range(3) if i not in absent]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        return raised

    return run


def found(path):
    """The array in a checkpoint, once every byte is checked."""
    with file.opened(str(path)) as reader, ExitStack() as stack:
        words = json.loads(reader.words["jaxbuffers"])
        saved = shares.Shares(str(path), words, stack)
        saved.check()
        return saved.parts("x", words["leaves"]["x"], [((0, 3),)])[((0, 3),)].tolist()


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_all_save_and_the_next_save_takes_the_place_of_it_with_all_its_shares(save, tmp_path):
    assert save() == {}
    assert found(tmp_path / "run") == [0, 1, 2]
    before = names(tmp_path)
    assert save(value=10) == {}
    assert found(tmp_path / "run") == [10, 11, 12]
    assert len(names(tmp_path)) == 4
    assert set(names(tmp_path)) & set(before) == {"run"}


def test_a_share_that_was_reported_stays_whatever_its_process_meets_then(save, tmp_path, monkeypatch):
    report = peers.Meeting.report

    def lost(meeting, **what):
        report(meeting, **what)
        if meeting.peers.here == 2:
            raise jb.errors.CheckpointError("the answer was lost")

    monkeypatch.setattr(peers.Meeting, "report", lost)
    assert save() == {2: "the answer was lost"}
    assert found(tmp_path / "run") == [0, 1, 2]


def test_a_reader_of_what_is_replaced_is_told_so_and_a_share_is_no_place_to_save(save, tmp_path):
    path = str(tmp_path / "run")
    assert save() == {}
    with file.opened(path) as reader, ExitStack() as stack:
        words = json.loads(reader.words["jaxbuffers"])
        assert save(value=10) == {}
        with pytest.raises(jb.errors.CheckpointError, match="replaced by another save"):
            shares.Shares(path, words, stack)
    with pytest.raises(jb.errors.CheckpointError, match="is no checkpoint"):
        check_place(next(str(each) for each in tmp_path.iterdir() if each.name.endswith("0of3")), True)


def test_what_is_not_the_same_in_one_is_named_by_all_and_nothing_is_left(save, tmp_path):
    raised = save({2: {"local": 1}})
    assert sorted(raised) == [0, 1, 2]
    assert all("leaf 'local' is not the same in process 2 as in process 0" in each for each in raised.values())
    assert names(tmp_path) == []


@pytest.mark.parametrize("where", ["run.00000000.0of3", "run.00000000.2of3", "run.00000000.part"])
def test_a_full_disk_of_any_process_leaves_what_was_there(save, tmp_path, monkeypatch, where):
    save()
    before, write = names(tmp_path), file.write

    def full(path, words, arrays):
        if path.endswith(where.split(".")[-1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, words, arrays)

    monkeypatch.setattr(file, "write", full)
    raised = save(value=10)
    assert sorted(raised) == [0, 1, 2]
    assert all("No space left" in each for each in raised.values())
    assert names(tmp_path) == before
    assert found(tmp_path / "run") == [0, 1, 2]


def test_an_error_after_the_rename_leaves_the_shares_that_were_published(save, tmp_path, monkeypatch):
    def no_sync(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(publish, "sync", no_sync)
    raised = save()
    assert sorted(raised) == [0, 1, 2]
    assert found(tmp_path / "run") == [0, 1, 2]


def test_who_does_not_come_is_named_and_who_comes_late_leaves_nothing(save, tmp_path):
    raised = save(timeout=0.5, absent=[1])
    assert sorted(raised) == [0, 2]
    assert all("process 1 did not come within 0.5 s" in each for each in raised.values())
    raised = save(timeout=0.5, late=[2])
    assert "process 2 did not come" in raised[0]
    assert "process 2 did not come" in raised[2]
    raised = save(timeout=0.5, absent=[0])
    assert all("process 0 did not come" in each for each in raised.values())
    assert sorted(raised) == [1, 2]
    assert names(tmp_path) == []


def test_all_read_one_checkpoint_or_none_does(monkeypatch):
    service, raised = Service(), {}
    monkeypatch.setattr(peers, "_client", lambda: service)

    def process(number, case, seen, error):
        meeting = peers.Meeting(peers.Peers((3, 5), (3, 5)[number], 20))
        meeting._key = case
        try:
            with meeting.all_or_none() as found:
                found["checksum"] = seen
                if error is not None:
                    raise error
        except Exception as error:
            raised[case, number] = error

    cases = {"same": [(1, None)] * 2, "other": [(1, None), (2, None)]}
    cases["damaged"] = [(1, None), (1, jb.errors.DamagedCheckpointError("here"))]
    cases["wrong"] = [(1, jb.errors.ShapeError("there")), (1, None)]
    for case, several in cases.items():
        threads = [threading.Thread(target=process, args=(i, case, *each)) for i, each in enumerate(several)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {key: type(error).__name__ for key, error in raised.items()} == {
        ("other", 0): "CheckpointError",
        ("other", 1): "CheckpointError",
        ("damaged", 0): "DamagedCheckpointError",
        ("damaged", 1): "DamagedCheckpointError",
        ("wrong", 0): "ShapeError",
        ("wrong", 1): "CheckpointError",
    }
    assert str(raised["damaged", 0]) == "process 5: here"
    assert str(raised["wrong", 1]) == "process 3: there"
