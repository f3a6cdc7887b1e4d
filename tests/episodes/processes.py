"""Processes that write and read one store, some of them killed. A script: it imports JAX once, and forks.

``processes.py kill FOLDER KILLS SEED``, ``steps FOLDER STRIDE``, ``read FOLDER COMMITS`` or ``fork FOLDER``; ends
with 0 if no committed episode was lost and no byte was wrong.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

import jaxbuffers as jb
from episodes.forks import fork
from episodes.model import COLUMNS, ROW, ROW_BYTES, Model, check_rows, rows
from jaxbuffers.episodes import files

CAPACITY = 400


def opened(folder):
    return jb.EpisodeStore(folder, CAPACITY, row=ROW, columns=COLUMNS, segment_bytes=60 * ROW_BYTES)


def say(pipe, *words):
    os.write(pipe, (json.dumps(words) + "\n").encode())


def choose(dice, model):
    """Return what to do next, as a method of the model and its arguments."""
    kind, ids = dice.random(), list(model.held)
    if kind < 0.6 or len(ids) < 6:
        key = dice.randrange(10**6)
        return "add", [[(key, length) for length in sorted(dice.choices([1, 2, 5, 20, 80], k=dice.choice([1, 1, 3])))]]
    if kind < 0.7:
        return "evict", [dice.randrange(3)]
    if kind < 0.8:
        return "delete", [dice.sample(ids, 2)]
    if kind < 0.9:
        return "judge", [dice.sample(ids, 3), dice.random()]
    return dice.choice([("compact", []), ("compact", []), ("reopen", [])])


def do(store, folder, name, arguments):
    """Do it with a store; return the store."""
    if name == "add":
        (episodes,) = arguments
        if len(episodes) == 1:
            key, length = episodes[0]
            store.add_episode(rows(key, length), {"key": key})
        else:
            add_together(store, episodes)
    elif name == "evict":
        store.evict(*arguments)
    elif name == "delete":
        store.delete(*arguments)
    elif name == "judge":
        store.set(arguments[0], judgment=arguments[1])
    elif name == "compact":
        store.compact(0.9)
    else:
        store.close()
        store = opened(folder)
    return store


def add_together(store, episodes):
    """Commit several episodes at once, by a writer whose environments all end in one call; the shortest first."""
    flat = [rows(key, length) for key, length in episodes]
    longest = len(flat[-1]["reward"])

    def at(name, t):
        return [each[name][min(t, len(each["reward"]) - 1)] for each in flat]

    block = {name: np.stack([np.array(at(name, t)) for t in range(longest)]) for name in ROW if name != "said"}
    block["said"] = [at("said", t) for t in range(longest)]
    mask = np.array([[t < length for _, length in episodes] for t in range(longest)])
    assert len(store.writer(len(episodes), metadata={"key": episodes[0][0]}).add(block, mask)) == len(episodes)


def write(folder, pipe, seed, model):
    """Change a store until killed; say what comes before it is done, and when it is."""
    dice, store = random.Random(seed), opened(folder)
    say(pipe, "open")
    while True:
        name, arguments = choose(dice, model)
        say(pipe, "do", name, arguments)
        store = do(store, folder, name, arguments)
        if hasattr(model, name):
            getattr(model, name)(*arguments)
        say(pipe, "done")


def replay(model, lines):
    """Apply what was done to a model; return it, and what may have been done as well."""
    waiting = None
    for word, *rest in map(json.loads, lines):
        if word == "do":
            waiting = rest
        elif word == "done":
            if hasattr(model, waiting[0]):
                getattr(model, waiting[0])(*waiting[1])
            waiting = None
    after = model.copy()
    if waiting and hasattr(after, waiting[0]):
        getattr(after, waiting[0])(*waiting[1])
    return model, after


def kill(folder, kills, seed):
    dice, model, checked, midway = random.Random(seed), Model(CAPACITY), 0, 0
    for number in range(kills):
        read, pipe = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            try:
                write(folder, pipe, f"{seed} {number}", model)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(pipe)
        said = b""
        wait = time.monotonic() + dice.random() ** 2 * 0.3
        if number % 4:  # the others may be killed while they open the store
            said += os.read(read, 1)
            wait += 0.01
        time.sleep(max(0, wait - time.monotonic()))
        os.kill(child, signal.SIGKILL)
        while some := os.read(read, 2**16):
            said += some
        os.close(read)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the writer ended by itself"
        before, after = replay(model, said.decode().splitlines())
        with opened(folder) as store:
            model = after if after.fits(store) else before
            midway += before.held != after.held
            last = number == kills - 1 or number % 50 == 0
            model.check(store, None if last else list(model.held)[-12:])
            checked += len(model.held) if last else min(12, len(model.held))
    print(f"{kills} kills, {model.next_id} episodes committed, {midway} killed amid a change, {checked} checked")


def script():
    """Return a fixed row of changes that meets everything a writer does to its files."""
    key = iter(range(10**6))
    for length in (30, 25, 20, 90, 20, 80):
        yield "add", [[(next(key), length)]]
    yield "judge", [[2, 3], 0.5]
    yield "delete", [[1, 2]]
    yield "compact", []
    yield "add", [[(7, 60), (7, 70)]]
    yield "evict", [2]
    yield "compact", []
    yield "reopen", []
    yield "add", [[(next(key), 50)]]


def steps(folder, stride):
    """Kill a writer before each of its steps, one after the other: those of its files, and those of its database."""
    at, count, ends = 1 - stride, 0, [0, 0]
    while True:
        at, count = at + stride, count + 1
        read, pipe = os.pipe()
        child = os.fork()
        path = folder / str(at)
        if not child:
            os.close(read)
            try:
                scripted(path, pipe, at)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(pipe)
        said = b""
        while some := os.read(read, 2**16):
            said += some
        os.close(read)
        status = os.waitpid(child, 0)[1]
        before, after = replay(Model(CAPACITY), said.decode().splitlines())
        with opened(path) as store:
            happened = after.fits(store)
            (after if happened else before).check(store)
            if before.held != after.held:
                ends[happened] += 1
            number = store._core.state.next_episode
            assert store.add_episode(rows(1, 40), {"key": 1}) == number
            (after if happened else before).add([(1, 40)])
            (after if happened else before).check(store)
            known = {f"{n:08d}.safetensors" for n in store._core.known}
            assert set(os.listdir(path / "segments")) == known, "files are left over"
        shutil.rmtree(path)
        if status == 0:
            break
        assert status == signal.SIGKILL, "the writer ended by itself"
    print(f"{count - 1} kills, {ends[0]} changes had not happened, {ends[1]} had")


def scripted(path, pipe, at):
    """Go through the script, and be killed before a step; of a write that is killed, half is there."""
    left = [at]

    def step(*_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("pwrite", "sync", "sync_folder", "remove", "create", "write", "overwrite"):
        real = getattr(files, name)

        def call(*arguments, real=real, name=name):
            if left[0] == 1 and name == "pwrite":
                real(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
            step()
            return real(*arguments)

        setattr(files, name, call)
    store = opened(path)
    store._core.catalog.texts.file.database.set_trace_callback(step)
    for name, arguments in script():
        say(pipe, "do", name, arguments)
        store = do(store, path, name, arguments)
        store._core.catalog.texts.file.database.set_trace_callback(step)
        say(pipe, "done")
    store.close()


def follow(folder):
    """Read what another process writes, until it says that it is done."""
    path, dice, refreshed, read = folder / "store", random.Random(os.getpid()), 0, 0
    while not (path / "ready").exists():
        time.sleep(0.01)
    with jb.EpisodeStore(path, read_only=True) as store:
        done = False
        while not done:
            done = (path / "done").exists()
            refreshed += store.refresh()
            metadata = store.metadata
            assert len(metadata["id"]) == len(store)
            for i in dice.sample(range(len(store)), min(4, len(store))):
                number, key, length = (int(metadata[name][i]) for name in ("id", "key", "length"))
                try:
                    episode = store[number]
                    rows_read = store.read([number], [0], length)
                except jb.errors.UnknownEpisodeError:
                    continue
                time.sleep(dice.random() * 0.005)
                check_rows(store, episode.rows, key, length)
                check_rows(store, {name: column[0] for name, column in rows_read.items()}, key, length)
                read += 1
        assert (refreshed > 3) & (read > 10), (refreshed, read)


def read(folder, commits):
    """One process writes, two follow."""
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                follow(folder)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        children.append(child)
    dice, model, path = random.Random(0), Model(CAPACITY), folder / "store"
    store = opened(path)
    (path / "ready").touch()
    for _ in range(commits):
        name, arguments = choose(dice, model)
        store = do(store, path, name, arguments)
        if hasattr(model, name):
            getattr(model, name)(*arguments)
        time.sleep(0.005)
    (path / "done").touch()
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    model.check(store)
    print("all read")


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "kill":
        kill(where / "store", int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "fork":
        fork(where)
    elif sys.argv[1] == "steps":
        steps(where, int(sys.argv[3]))
    else:
        read(where, int(sys.argv[3]))
