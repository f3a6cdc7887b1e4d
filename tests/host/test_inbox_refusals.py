"""An inbox: what is refused, and threads and signals while it waits."""

import copy
import os
import pickle
import signal
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    InboxFullError,
    ShapeError,
    StaleRowsError,
    StructureError,
    WrongProcessError,
)

from .actor_rows import ROW, rows_of, some


@pytest.mark.parametrize(
    "change, error, says",
    [
        ({"obs": np.zeros((1, 2, 3), np.float32)}, ShapeError, r"'obs' has shape \(1, 2, 3\), expected \[..., 2\]"),
        ({"obs": np.zeros((1, 2, 2))}, DtypeError, "'obs' has dtype float64"),
        ({"obs": np.zeros((1, 3, 2), np.float32)}, ShapeError, r"'is_first' has \(1, 2\), leaf 'obs' has \(1, 3\)"),
        ({"is_last": np.zeros((1, 2), np.int32)}, DtypeError, "'is_last' has dtype int32, expected bool"),
        ({"obs": np.ma.masked_array(np.zeros((1, 2, 2), np.float32))}, DtypeError, "'obs' is a masked array"),
        ({"more": np.zeros((1, 2))}, StructureError, "unknown leaves: more"),
        ({"obs": "text"}, DtypeError, "'obs' is a str"),
    ],
)
def test_wrong_rows_are_refused_by_name_and_change_nothing(change, error, says):
    inbox = jb.Inbox(ROW, 2, 2, length=2, capacity=4)
    good = rows_of([[1, 2]], [[True, True]], [[False, False]])
    inbox.put(1, good)
    with pytest.raises(error, match=says):
        inbox.put(1, good | change)
    assert inbox.waiting.tolist() == [0, 0, 1, 1]


def test_wrong_axes_masks_actors_and_flags_are_refused():
    inbox = jb.Inbox(ROW | {"is_terminal": np.bool_}, 2, 2, length=2, capacity=4)
    good = rows_of([[1, 2]], [[True, True]], [[False, True]]) | {"is_terminal": np.array([[False, True]])}
    for mask, error in ((np.ones(2, bool), ShapeError), (np.ones((1, 2)), DtypeError), ([[True, True]], DtypeError)):
        with pytest.raises(error, match="mask must be a bool array of shape"):
            inbox.put(0, good, mask)
    with pytest.raises(ShapeError, match=r"\[2, ...\] or \[n, 2, ...\]; got leading axes \(2, 1\)"):
        inbox.put(0, jax.tree.map(lambda x: x.swapaxes(0, 1), good))
    with pytest.raises(StructureError, match="is_terminal is True where is_last is False"):
        inbox.put(0, good | {"is_last": np.zeros((1, 2), bool)})
    inbox.put(0, good | {"is_last": np.zeros((1, 2), bool)}, np.array([[True, False]]))  # it is not there
    for actor in (2, -1, True):
        with pytest.raises(ConfigurationError, match="actor must be"):
            inbox.put(actor, good)
        with pytest.raises(ConfigurationError, match="actor must be"):
            inbox.lost(actor)
    with pytest.raises(StructureError, match="'obs' is traced"):
        jax.jit(lambda x: inbox.put(0, good | {"obs": x}))(good["obs"])
    assert inbox.waiting.tolist() == [1, 0, 0, 0]


def test_impossible_sizes_and_times_are_refused():
    for wrong in ({"length": 0}, {"capacity": 1}, {"actors": 0}, {"num_envs": 0}, {"max_staleness": -1}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            jb.Inbox(**({"row": ROW, "actors": 2, "length": 2, "capacity": 4} | wrong))
    with pytest.raises(DtypeError, match="an Inbox needs 'is_last' to be bool"):
        jb.Inbox(ROW | {"is_last": np.float32}, 1, length=2, capacity=4)
    inbox = jb.Inbox(ROW, 1, length=2, capacity=4)
    with pytest.raises(ConfigurationError, match="at_least=3, but a block has 2 rows"):
        inbox.take(3)
    for call in (inbox.take, lambda timeout: inbox.put(0, some(1), timeout=timeout)):
        with pytest.raises(ConfigurationError, match="timeout"):
            call(timeout=-1)
    with pytest.raises(ShapeError, match="4 rows of a stream never fit; at most 3 do"):
        inbox.put(0, some(1, 2, 3, 4), timeout=None)
    assert len(inbox) == 0


def test_rows_of_devices_and_of_every_dtype_come_out_as_they_went_in():
    bits = {"a": jnp.array([1.5, jnp.nan], jnp.bfloat16), "b": np.array([-0.0, 1e-45], np.float32)}
    inbox = jb.Inbox(jax.tree.map(lambda x: jax.ShapeDtypeStruct((), x.dtype), bits), 1, length=2, capacity=2)
    inbox.put(0, bits)
    out = inbox.take().rows
    for name, x in bits.items():
        assert out[name].dtype == x.dtype
        assert out[name].tobytes() == np.asarray(x).tobytes()


@pytest.fixture
def restless():
    """Let threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_threads_that_wait_for_room_lose_nothing_and_keep_the_order_of_streams():
    actors, count = 3, budget(300, 3000)
    inbox = jb.Inbox(ROW, actors, length=3, capacity=5)

    def act(actor):
        at = 0
        while at < count:
            n = 1 + (at + actor) % 4
            numbers = range(at, min(at + n, count))
            inbox.put(actor, some(*numbers, first=at == 0, last=numbers[-1] == count - 1), timeout=None)
            at += n

    threads = [threading.Thread(target=act, args=(actor,), daemon=True) for actor in range(actors)]
    for thread in threads:
        thread.start()
    got = [[] for _ in range(actors)]
    while sum(map(len, got)) < actors * count:
        block = inbox.take(timeout=60)
        assert block is not None
        for s, numbers in enumerate(got):
            numbers += block.rows["obs"][block.mask[:, s], s, 0].tolist()
    for thread in threads:
        thread.join(60)
    assert got == [list(range(count))] * actors
    assert len(inbox) == 0


def test_a_put_that_waits_is_refused_if_its_actor_is_replaced_meanwhile_or_time_is_up():
    inbox, errors = jb.Inbox(ROW, 1, length=1, capacity=2), []
    inbox.put(0, some(1, first=True))
    inbox.put(0, some(2))
    with pytest.raises(InboxFullError, match=r"stream 0 holds 2 of 2 rows, and 1 more do not fit"):
        inbox.put(0, some(3), timeout=0.01)

    def late():
        try:
            inbox.put(0, some(3), life=0, timeout=60)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    inbox.lost(0)
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(errors[0], StaleRowsError)
    assert inbox.waiting.tolist() == [2]


def test_a_signal_in_the_middle_of_a_put_waits_until_all_rows_are_in(monkeypatch):
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    inbox = jb.Inbox(ROW, 1, length=4, capacity=4)
    real = inbox._streams.append

    def append(*args):
        signal.raise_signal(signal.SIGINT)  # before the first row is there
        real(*args)

    monkeypatch.setattr(inbox._streams, "append", append)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(Interrupted):
            inbox.put(0, some(1, 2, first=True))
    finally:
        signal.signal(signal.SIGINT, before)
    assert inbox.take().rows["obs"][:, 0, 0].tolist() == [1, 0, 0, 0]
    assert len(inbox) == 1  # 2 waits for its successor


def test_a_signal_in_the_middle_of_a_take_leaves_the_rows_here(monkeypatch):
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    inbox = jb.Inbox(ROW, 1, length=2, capacity=8)
    inbox.put(0, some(1, 2, 3, 4, first=True))
    real = inbox._streams.take

    def take(length):
        signal.raise_signal(signal.SIGINT)
        return real(length)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(inbox._streams, "take", take)
            with pytest.raises(Interrupted):
                inbox.take()
    finally:
        signal.signal(signal.SIGINT, before)
    assert inbox.waiting.tolist() == [4]
    assert [inbox.take().rows["obs"][:, 0, 0].tolist() for _ in range(2)] == [[1, 2], [3, 0]]


def test_any_time_to_wait_will_do():
    inbox = jb.Inbox(ROW, 1, length=2, capacity=4)
    for forever in (float("inf"), 1e300):
        threading.Timer(0.05, lambda: inbox.put(0, some(1, 2, first=True))).start()
        assert inbox.take(timeout=forever).mask[:, 0].tolist() == [True, False]
        inbox.lost(0)
        inbox.take()


def test_more_rows_than_can_wait_are_refused_and_not_waited_for():
    inbox = jb.Inbox({"obs": np.float32}, 2, length=8, capacity=3)
    with pytest.raises(ConfigurationError, match="at_least=7, but a block has 6 rows, as many as can wait"):
        inbox.take(7, timeout=None)
    for actor in range(2):
        inbox.put(actor, {"obs": np.arange(3, dtype=np.float32)})
    assert inbox.take(6).mask.sum() == 6


def test_lives_are_numbers():
    inbox = jb.Inbox(ROW, 1, length=2, capacity=4)
    for wrong in (0.0, False, "0", -1):
        with pytest.raises(ConfigurationError, match="life must be an int of at least 0"):
            inbox.put(0, some(1), life=wrong)
    inbox.put(0, some(1), life=np.int64(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_rows_put_in_another_process_are_refused_and_not_lost():
    inbox = jb.Inbox(ROW, 1, length=2, capacity=4)
    for copied in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(WrongProcessError, match="an Inbox stays in the process that made it"):
            copied(inbox)
    calls = (lambda: inbox.put(0, some(1)), inbox.take, lambda: inbox.lost(0), lambda: inbox.announce(1))
    read, write = os.pipe()
    if not (child := os.fork()):
        refused = 0
        for call in (*calls, lambda: inbox.waiting):
            try:
                call()
            except WrongProcessError:
                refused += 1
        os.write(write, str(refused).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 9) == b"5"
    os.close(read)
    os.close(write)
    assert len(inbox) == 0
