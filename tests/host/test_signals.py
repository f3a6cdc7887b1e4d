"""No signal handler cuts a call in half, and none is lost."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from host.processes import fork
from host.shells import contents, shell
from jaxbuffers.host.signals import Guard, Section, section

SCRIPT = Path(__file__).parent / "processes.py"
INTERRUPTS = budget(10, 150)
ROW = {"mission": "new", "notes": ["note"], "reward": 9}


class Stop(Exception):
    """What handlers of these tests raise."""


@pytest.fixture
def handle():
    """Install handlers, and take them away again."""
    before = {}

    def install(number, handler):
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield install
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(number, frame):
    raise Stop(number)


def filled(**options):
    buffer = shell(sampler=jb.Prioritized(), **options)
    for i in range(5):
        buffer.insert(mission=f"m{i}", notes=[], reward=i)
    return buffer


def insert(buffer):
    """Insert a row, and have it added to the state."""
    buffer.insert(**ROW)
    buffer.flush()


def during(buffer, verb, *numbers):
    """Let signals come in the middle of a compiled call, when its state has been donated and the new one is nowhere."""
    real = buffer._verbs

    def writes(shared):
        def run(*arguments):
            state = getattr(real, verb)(shared)(*arguments)
            for number in numbers:
                signal.raise_signal(number)
            return state

        return run

    names = ("add", "add_staged", "update", "sample", "stale", "replaced", "rewritten")
    buffer._verbs = SimpleNamespace(**{name: getattr(real, name) for name in names} | {verb: writes})


def program(times):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["XLA_FLAGS"] = budget(os.environ["XLA_FLAGS"], "")  # the quick tier compiles fast
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(times)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_is_interrupted_at_any_moment_has_whole_calls_only():
    dice, said = random.Random(0), ["KeyboardInterrupt", "Terminated"] * (INTERRUPTS // 2)
    with program(INTERRUPTS) as child:
        alarm = threading.Timer(400, child.kill)  # where an interrupt is never raised
        alarm.start()
        for expected in said:
            if child.stdout.readline() != "ready\n":
                break
            threading.Event().wait(dice.uniform(0, 0.01))
            child.send_signal(signal.SIGINT if expected == "KeyboardInterrupt" else signal.SIGTERM)
            assert child.stdout.readline() in (expected + "\n", "")
        _, errors = child.communicate()
        alarm.cancel()
    assert child.returncode == 0, errors


@pytest.mark.parametrize("verb", ["add_staged", "update"])
@pytest.mark.parametrize(
    "number", long_but([signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1], quick=[0, 1])
)
def test_a_handler_that_raises_while_arrays_are_donated_is_called_afterwards(verb, number, handle):
    buffer = filled()
    index, before = buffer.sample().index, contents(buffer)
    handle(number, stop)
    during(buffer, verb, number)
    with pytest.raises(Stop):
        insert(buffer) if verb == "add_staged" else buffer.update(index, priority=np.ones(2, np.float32))
    assert signal.getsignal(number) is stop
    new = [("new", ["note", None, None], 9.0)] if verb == "add_staged" else []
    assert contents(buffer) == (before + new)[-4:]
    assert buffer.sample(4).valid


def test_every_signal_that_came_is_handled_once_and_sees_its_own_handler(handle):
    buffer, called = filled(), []

    def note(number, frame):
        called.append((number, signal.getsignal(number) is note, frame is not None, len(buffer)))
        raise Stop

    handle(signal.SIGTERM, note)
    handle(signal.SIGUSR1, note)
    during(buffer, "add_staged", signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM)
    with pytest.raises(Stop):
        insert(buffer)
    assert called == [(signal.SIGUSR1, True, True, 4), (signal.SIGTERM, True, True, 4)]


def test_a_handler_may_use_the_buffer_and_wait_for_a_thread_that_does(handle):
    buffer, saved, rows = filled(), [], []

    def save(number, frame):
        saved.append(buffer.to_bytes())
        thread = threading.Thread(target=lambda: rows.append(len(buffer)))
        thread.start()
        thread.join(60)

    handle(signal.SIGTERM, save)
    during(buffer, "add_staged", signal.SIGTERM)
    insert(buffer)
    other = shell(sampler=jb.Prioritized(), table=buffer.table)
    other.from_bytes(saved[0])
    assert contents(other) == contents(buffer)
    assert rows == [4]


def test_a_handler_may_install_another_one(handle):
    buffer = filled()

    def second(number, frame):
        raise Stop

    handle(signal.SIGTERM, lambda number, frame: signal.signal(number, second))
    during(buffer, "add_staged", signal.SIGTERM)
    insert(buffer)
    assert signal.getsignal(signal.SIGTERM) is second


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_signals_without_a_handler_in_python_are_left_alone(handler, handle):
    handle(signal.SIGTERM, handler)
    with Section(threading.RLock()):
        assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGTERM) is handler


def test_other_threads_leave_the_handlers_alone(handle):
    handle(signal.SIGTERM, stop)
    found = []

    def work():
        with section(threading.RLock()):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [stop]


def test_a_call_that_fails_leaves_the_handlers_as_they_were(handle):
    handle(signal.SIGTERM, stop)
    buffer = filled()
    with pytest.raises(jb.errors.DtypeError):
        buffer.insert(**ROW | {"reward": True})
    assert signal.getsignal(signal.SIGTERM) is stop

    def fail():
        with Section(threading.RLock()):
            signal.raise_signal(signal.SIGTERM)
            raise ValueError

    with pytest.raises(Stop) as raised:
        fail()
    assert isinstance(raised.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGTERM) is stop


def test_sections_inside_sections_let_go_at_the_end_of_the_outer_one(handle):
    handle(signal.SIGTERM, stop)
    lock, done = threading.RLock(), []

    def nest():
        with Section(lock):
            with Section(lock), Section(threading.RLock()):
                signal.raise_signal(signal.SIGTERM)
            done.append("inner")

    with pytest.raises(Stop):
        nest()
    assert done == ["inner"]
    assert signal.getsignal(signal.SIGTERM) is stop


def test_who_waits_for_another_thread_can_be_interrupted(handle):
    handle(signal.SIGTERM, stop)
    held, waited, leave = threading.Event(), threading.Event(), threading.Event()

    class Lock:
        def __init__(self):
            self.lock = threading.RLock()
            self.release = self.lock.release

        def acquire(self, *arguments, **options):
            taken = self.lock.acquire(*arguments, **options)
            if not taken:
                waited.set()
            return taken

    lock = Lock()

    def hold():
        with section(lock.lock):
            held.set()
            waited.wait(60)
            os.kill(os.getpid(), signal.SIGTERM)
            leave.wait(60)

    def wait():
        with Section(lock):
            pass

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    with pytest.raises(Stop):
        wait()
    assert thread.is_alive()
    assert signal.getsignal(signal.SIGTERM) is stop
    leave.set()
    thread.join()
    wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_is_refused_and_does_not_hang():
    assert fork() == ("refused there", 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_does_not_wait_for_threads_that_it_does_not_have():
    table, began, go = jb.TextTable(), threading.Event(), threading.Event()

    def work():
        with Guard(table)():
            began.set()
            assert go.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(60)
    if not (child := os.fork()):
        signal.alarm(20)  # ends it, with another status
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with Guard(table)():
            os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go.set()
    thread.join()
    assert status == 7
