"""Handlers of signals that use a buffer in the middle of a call that reads it."""

import linecache
import signal
import sys

import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from host.staged import bits

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())
NEVER_THERE = ("self._key = drawn.after",)  # handlers run where something is called, or a loop turns


def at_each_line(names, files, make, call, use):
    """Make a buffer for each line of the named functions, and use it there in the middle of a call."""
    for at in range(1, 100):
        buffer, seen = make(), [0]

        def trace(frame, event, _, at=at, buffer=buffer, seen=seen):
            if event == "call":
                code = frame.f_code
                return trace if code.co_name in names and code.co_filename.endswith(files) else None
            if linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(NEVER_THERE):
                return trace
            seen[0] += 1
            if seen[0] == at:
                sys.settrace(None)
                try:
                    use(buffer)
                finally:
                    sys.settrace(trace)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            result = call(buffer)
        finally:
            sys.settrace(before)
        if seen[0] < at:
            break
        yield buffer, result
    assert at > 5


def filled():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32}, seed=1)
    buffer.add({"x": np.arange(20, dtype=np.float32)})
    buffer.sample()
    len(buffer)
    return buffer


def test_a_handler_that_draws_in_the_middle_of_a_draw_gets_another_batch():
    drawn, twin = [], filled()
    expected = sorted(bits(twin.sample().index) for _ in range(2))
    draw, names = jb.HostReplay.sample, ("sample", "_draw")
    for _, batch in at_each_line(names, "sampling.py", filled, draw, lambda buffer: drawn.append(draw(buffer))):
        assert sorted([bits(batch.index), bits(drawn.pop().index)]) == expected


def test_a_handler_that_has_rows_added_does_not_change_how_many_there_are():
    def waiting():
        buffer = filled()
        buffer.insert(x=1)
        buffer.insert(x=2)
        return buffer

    names, files = ("__len__", "_present", "written"), ("writing.py", "staging.py")
    lines = at_each_line(names, files, waiting, len, jb.HostReplay.flush)
    assert {rows for _, rows in lines} == {22}


def test_a_signal_that_comes_while_a_draw_is_compiled_waits():
    """Inside of it a handler could not use the buffer: what is traced there would be part of the program."""
    armed, inside, came = [True], [], []

    def weight(windows):
        inside.append(True)
        if armed:
            armed.clear()
            signal.raise_signal(signal.SIGTERM)
        inside.pop()
        return -windows.age.astype(jnp.float32)

    def handler(*_):
        buffer.insert(x=9)
        buffer.flush()
        came.append(list(inside))

    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, sampler=jb.Weighted(weight), view=jb.Items())
    buffer = jb.HostReplay(replay, {"x": np.float32})
    for x in (1, 2):
        buffer.insert(x=x)
    buffer.flush()
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert set(buffer.sample().data["x"].tolist()) == {1, 2}
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [[]]
    assert len(buffer) == 3
    assert set(buffer.sample(3).data["x"].tolist()) == {1, 2, 9}
