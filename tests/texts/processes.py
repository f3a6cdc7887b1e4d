"""Processes that write and read one file, some of them killed. A script: it imports JAX once, and forks.

``processes.py kill FOLDER KILLS SEED`` or ``processes.py read FOLDER COMMITS``; ends with 0 if all was well.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from jaxbuffers import TextTable
from jaxbuffers.texts import table as tables


def forked(work, *arguments):
    """Do some work in another process; return its id."""
    if child := os.fork():
        return child
    try:
        work(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def load(save):
    """Return what the last complete save refers to: texts by id."""
    return {int(i): text for i, text in json.loads(save.read_text()).items()} if save.exists() else {}


def check(table, expected):
    assert table.lookup(list(expected)) == list(expected.values()), "a text of the last save is lost"


def write(path, save, report, seed):
    """Write, save, sweep and purge until killed; report every id before it can be in a save."""
    choose = random.Random(seed)
    table = TextTable(path, cache_bytes=1000)
    live = load(save)
    check(table, live)
    while True:
        for _ in range(choose.randrange(1, 4)):
            texts = [
                f"{choose.randrange(10**9)} " + "x" * choose.randrange(2000) for _ in range(choose.randrange(1, 9))
            ]
            ids = table.intern(texts).tolist()
            os.write(report, (json.dumps([[i, text[:10]] for i, text in zip(ids, texts, strict=True)]) + "\n").encode())
            live |= dict(zip(ids, texts, strict=True))
        table.commit()
        live = dict(choose.sample(sorted(live.items()), min(len(live), 10)))
        (save.parent / "new").write_text(json.dumps(live))
        os.replace(save.parent / "new", save)
        table.sweep(list(live))
        table.purge()
        os.write(report, b"saved\n")


def kill(folder, kills, seed):
    """Kill a writer again and again, at any point; every 25th time begin a new file."""
    delays, given, saves, none, slow = random.Random(int(seed)), {}, 0, 0, 1.0
    for n in range(int(kills)):
        path, save = folder / f"{n // 25}.db", folder / f"{n // 25}.json"
        if n % 25 == 0:
            given = {}
        end, report = os.pipe()
        child = forked(write, path, save, report, n)
        os.close(report)
        time.sleep(slow * delays.uniform(0, 0.004 if n % 25 < 10 else 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a writer ended by itself, see above"
        with os.fdopen(end) as lines:
            whole = [line for line in lines if line.endswith("\n")]
        saves, none = saves + whole.count("saved\n"), none + (not whole)
        slow *= 1 if saves else 1.1  # on a busy machine
        for i, text in (pair for line in whole if line != "saved\n" for pair in json.loads(line)):
            assert given.setdefault(i, text) == text, f"id {i} was given to two texts"
    for path in folder.glob("*.db"):
        for read_only in (True, False):
            if os.path.getsize(path) and (load(path.with_suffix(".json")) or not read_only):
                with TextTable(path, read_only=read_only) as table:
                    check(table, load(path.with_suffix(".json")))
    print(f"{kills} kills, {saves} saves, {none} killed before a text")


def text_of(number):
    return f"{number} " * (number % 500)


def write_for(path, commits, reports):
    """Write and announce what is committed."""
    with TextTable(path) as table:
        for n in range(commits):
            numbers = range(n * 10, n * 10 + 10)
            ids = table.intern([text_of(i) for i in numbers]).tolist()
            table.commit()
            if n % 10 == 5:
                table.sweep([], candidates=table.intern([f"gone {n}"]))
                table.purge()
            for report in reports:
                os.write(report, (json.dumps(list(zip(ids, numbers, strict=True))) + "\n").encode())


def read_of(path, end, commits):
    """Read what is announced, and what was before."""
    table, known, lines = None, {}, 0
    with os.fdopen(end) as report:
        for line in report:
            table = table or TextTable(path, read_only=True, cache_bytes=5000)
            known |= dict(json.loads(line))
            assert table.lookup(list(known)[-40:]) == [text_of(n) for n in list(known.values())[-40:]]
            lines += 1
    check(table, {i: text_of(n) for i, n in known.items()})
    assert lines == commits
    table.close()


def read(folder, commits):
    """Two processes read while one writes."""
    pipes = [os.pipe() for _ in range(2)]
    children = [forked(write_for, folder / "t.db", int(commits), [report for _, report in pipes])]
    for _, report in pipes:
        os.close(report)
    children += [forked(read_of, folder / "t.db", end, int(commits)) for end, _ in pipes]
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0, 0, 0], f"a process failed, see above: {statuses}"
    print("all read")


if __name__ == "__main__":
    # sweep is given live ids, not states: a forked process cannot use JAX
    tables.references = lambda ids, *_: (np.asarray(ids, np.int64), np.zeros(0, np.int64))
    {"kill": kill, "read": read}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
