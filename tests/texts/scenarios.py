"""Runs functions that fork, each in a process that is forked for it, and says how each ended.

A script made of such functions imports JAX once, and never uses it; it takes a folder, and the names of some of them.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sqlite3
import sys
import traceback
from pathlib import Path

SECONDS = 100  # a scenario that takes longer hangs


def finish(code):
    """End this process as Python does, with all that it does then."""
    sys.stderr.flush()
    ctypes.pythonapi.Py_Exit(code)


def forked(work, *arguments, leave=os._exit):
    """Do some work in another process; return its id."""
    child = os.fork()
    if not child:
        try:
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
            signal.alarm(SECONDS)
            work(*arguments)
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        leave(0)
    return child


def ends_well(child):
    """Wait until a process is over, and check that it was content."""
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a process ended with {status}, see above"


def do(work, *arguments, **options):
    """Do some work in another process, and wait for it."""
    ends_well(forked(work, *arguments, **options))


class Turn:
    """Lets a process wait until another one says that it is its turn."""

    def __init__(self):
        self.end, self.start = os.pipe()

    def give(self):
        os.write(self.start, b".")

    def wait(self):
        assert os.read(self.end, 1) == b"."


def refused(call, error, words):
    """Check that a call raises an error whose message has some words."""
    raised = None
    try:
        call()
    except error as caught:
        raised = caught
    assert raised is not None, f"{error.__name__} was not raised"
    assert words in str(raised), raised


def in_file(path):
    """Read all texts of a file, by id, with SQLite alone."""
    database = sqlite3.connect(path)
    found = {i: data.decode() for i, data in database.execute("SELECT id, data FROM texts")}
    database.close()
    return found


def main(scenarios):
    """Run those that are asked for, each in a process and a folder of its own, and print which were content."""
    folder, *names = sys.argv[1:]
    good = {}
    for scenario in scenarios:
        if not names or scenario.__name__ in names:
            own = Path(folder, scenario.__name__)
            own.mkdir()
            good[scenario.__name__] = os.waitpid(forked(scenario, own), 0)[1] == 0
    print(json.dumps(good))
