"""Writers that are killed at any moment. A script: it imports JAX once, and forks.

``killed.py FOLDER KILLS SEED``: prints how many kills there were and how many episodes were committed, evicted and
checked; ends with 0 if none was lost or wrong.
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
from model import COLUMNS, ROW, ROW_BYTES, Model, rows

import jaxbuffers as jb

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


def run(folder, kills, seed):
    dice, model, checked, midway = random.Random(seed), Model(CAPACITY), 0, 0
    for kill in range(kills):
        read, pipe = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            try:
                write(folder, pipe, f"{seed} {kill}", model)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(pipe)
        said = b""
        wait = time.monotonic() + dice.random() ** 2 * 0.3
        if kill % 4:  # the others may be killed while they open the store
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
            last = kill == kills - 1 or kill % 50 == 0
            model.check(store, None if last else list(model.held)[-12:])
            checked += len(model.held) if last else min(12, len(model.held))
    print(f"{kills} kills, {model.next_id} episodes committed, {midway} killed amid a change, {checked} checked")


if __name__ == "__main__":
    run(Path(sys.argv[1]) / "store", int(sys.argv[2]), int(sys.argv[3]))
