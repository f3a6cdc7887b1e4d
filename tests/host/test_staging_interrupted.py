"""A row that is interrupted on its way into a block is there as a whole, or never was."""

import linecache
import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import jaxbuffers as jb

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())


# Handlers run where something is called, or a loop turns.
NEVER_THERE = ("block.kinds[place] =", "block.kinds[here] =", "self.count = place")


class Interrupt(BaseException):
    """What the next test raises, as a handler of Ctrl-C would."""


@pytest.mark.parametrize("size, rows", [(2, 1), (256, 1), (256, 2)])
def test_an_insert_that_is_interrupted_at_any_line_is_whole_or_never_was(size, rows):
    """Every line of the path of rows, by a tracer; from `flush` on handlers wait (tests/host/test_signals.py)."""
    traced = {"insert", "add", "_staged", "put", "_put", "_put_block", "fits", "_flush_full"}

    def interrupted(buffer, at):
        seen = [0]

        def trace(frame, event, _):
            ours = "jaxbuffers/host" in frame.f_code.co_filename.replace("\\", "/")
            if event == "call":
                return trace if ours and frame.f_code.co_name in traced else None
            # Leaving a `with` is traced as one more step on its line, on which no handler ever runs.
            if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(
                "with"
            ):
                seen[0] += 1
                if seen[0] == at:
                    raise Interrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            if rows == 1:
                buffer.insert(is_last=True, is_terminal=True, x=7.0)
            else:
                ends = np.ones(rows, np.bool_)
                buffer.add({"is_last": ends, "is_terminal": ends, "x": np.full(rows, 7, np.float32)})
        except Interrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
    fields, outcomes = {"is_last": np.bool_, "is_terminal": np.bool_, "x": np.float32}, set()
    for at in range(1, 200):
        buffer = jb.HostReplay(replay, fields, staging=size)
        buffer.insert(is_last=False, is_terminal=False, x=1.0)
        if not interrupted(buffer, at):
            break
        there = len(buffer) - 1
        outcomes.add(there)
        buffer.insert(is_last=False, is_terminal=False, x=2.0)
        found, _ = buffer.get(jb.Index(np.zeros(5, np.int32), np.arange(5, dtype=np.int32)))
        assert found["x"].tolist() == [1, *[7] * there, 2, *[0] * (3 - there)]
        assert found["is_terminal"].tolist() == [False, *[True] * there, *[False] * (4 - there)]
        others = threading.Thread(target=buffer.flush)  # the lock is free
        others.start()
        others.join(60)
        assert not others.is_alive()
    else:
        raise AssertionError("the insert never came to its end")
    assert at > 20
    assert outcomes == {0, rows}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("use", ["flush", "insert", "len"])
def test_a_handler_that_uses_the_buffer_in_the_middle_of_a_row_loses_none(use, rows):
    """At every line of the path of one row or a block, by a tracer in place of a signal."""
    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())

    def life(at):
        buffer = jb.HostReplay(replay, {"x": np.float32, "y": np.float32}, staging=4)
        buffer.insert(x=1.0, y=1.0)
        buffer.insert(x=2.0, y=2.0)
        seen = [0]

        def trace(frame, event, _):
            if event == "call":
                return trace if frame.f_code.co_name in {"_staged", "put", "_put", "_put_block", "fits"} else None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            if event != "line" or line.startswith(NEVER_THERE):
                return trace
            seen[0] += 1
            if seen[0] == at:
                sys.settrace(None)
                frame.f_trace = None
                {"flush": buffer.flush, "insert": lambda: buffer.insert(x=9.0, y=9.0), "len": lambda: len(buffer)}[
                    use
                ]()
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            if rows == 1:
                buffer.insert(x=3.0, y=3.0)
            else:
                buffer.add({name: np.full(rows, 3, np.float32) for name in ("x", "y")})
        finally:
            sys.settrace(before)
        found, there = buffer.get(jb.Index(np.zeros(6, np.int32), np.arange(6, dtype=np.int32)))
        assert len(buffer) == np.sum(there)
        np.testing.assert_array_equal(found["x"], found["y"])
        return found["x"][: len(buffer)].tolist(), seen[0] >= at

    for at in range(1, 100):
        found, came = life(at)
        if not came:
            break
        assert sorted(found) == [1, 2, *[3] * rows, *[9] * (use == "insert")]
    assert at > 20


def test_a_signal_while_a_block_is_added_is_handled_afterwards():
    buffer, came = jb.HostReplay(ITEMS, {"x": np.float32}, staging=2), []
    buffer.insert(x=0)
    real = buffer._verbs

    def interrupting(shared):
        def run(*arrays):
            signal.raise_signal(signal.SIGTERM)
            return real.add_staged(shared)(*arrays)

        return run

    buffer._verbs = SimpleNamespace(sample=real.sample, add_staged=interrupting)

    def handle(*_):
        came.append(len(buffer))
        raise Interrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(Interrupt):
            buffer.insert(x=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [2]
    assert set(buffer.sample(64).data["x"].tolist()) == {0, 1}
