"""What the tests of signals and forks do in other processes: ``processes.py <interrupts>``, and `fork`."""

import os
import signal
import sys
import threading

import numpy as np

import jaxbuffers as jb
from host.shells import contents, shell


class Terminated(Exception):
    """What this program's handler of SIGTERM raises."""


def terminate(number, frame):
    raise Terminated


def calls(buffer, row):
    """Every call that writes."""
    buffer.insert(mission=f"m{row}", notes=[f"n{row}"], reward=row)
    buffer.update(buffer.sample().index, priority=np.ones(2, np.float32))
    buffer.sweep()


def whole(buffer, row):
    """Return the number of the newest row, of which everything must be there, and nothing of the next."""
    held = contents(buffer)
    newest = int(held[-1][2])
    assert newest in (row - 1, row), f"row {row} was to be inserted, the newest is {newest}"
    assert held == [(f"m{i}", [f"n{i}", None, None], float(i)) for i in range(newest - 7, newest + 1)]
    texts = {text.decode() for _, text in buffer.table._store.items()}
    assert {f"m{i}" for i in range(newest - 7, newest + 1)} <= texts
    assert max(int(text[1:]) for text in texts) == newest
    assert len(buffer.sample(4).text("mission")) == 4
    return newest


def interrupt(times):
    """Say when to be interrupted, and after each interrupt whether all is well."""
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background does not have
    buffer, row = shell(capacity=8, sampler=jb.Prioritized()), 0
    for row in range(12):  # compiles everything, and fills the ring
        calls(buffer, row)
    for _ in range(int(times)):
        try:
            print("ready", flush=True)
            while True:
                calls(buffer, row + 1)
                row += 1
        except (KeyboardInterrupt, Terminated) as error:
            row = whole(buffer, row + 1)
            print(type(error).__name__, flush=True)


def fork():
    """Use a buffer in a forked process, while a thread of the first one is inside of a call; return what came of it."""
    buffer = shell()
    buffer.insert(mission="a", notes=[], reward=0)
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with buffer.section():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends it where it hangs
        uses = (
            lambda: buffer.insert(mission="b", notes=[], reward=1),
            buffer.sample,
            buffer.sweep,
            buffer.count,
            buffer.to_bytes,
            lambda: len(buffer),
            lambda: buffer.state,
        )
        refused = 0
        try:
            for use in uses:
                try:
                    use()
                except jb.errors.WrongProcessError:
                    refused += 1
        finally:
            os._exit(refused - len(uses))
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    buffer.insert(mission="b", notes=[], reward=1)
    return "refused there" if status == 0 else status, len(buffer)


if __name__ == "__main__":
    interrupt(sys.argv[1])
