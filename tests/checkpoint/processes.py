"""Processes that save until they are killed. A script: it imports JAX once, and forks.

``processes.py FOLDER KILLS SEED``; ends with 0 if nothing was lost. Only arrays of NumPy: a forked process cannot use
JAX's devices.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

import jaxbuffers as jb

KEEP, EVERY = 3, 25  # of the manager; a new folder after so many kills


def tree(step):
    """What says of itself which step it is, in every part of it."""
    big = np.random.default_rng(step).integers(0, 255, 200_000, np.uint8)
    return {"step": step, "big": big, "small": [np.full(i, step) for i in range(1, 30)]}


def texts(step):
    table = jb.TextTable()
    ids = table.intern([f"step {step}", "always", f"{step} " * 1000])
    return table, [int(i) for i in ids]


def check(found):
    """The whole of one step, and nothing of another."""
    step = found.tree["step"]
    expected = tree(step)
    assert found.tree["big"].tobytes() == expected["big"].tobytes(), f"wrong bytes in step {step}"
    for a, b in zip(found.tree["small"], expected["small"], strict=True):
        assert a.tobytes() == b.tobytes(), f"wrong bytes in step {step}"
    said = found.tables["texts"].lookup(np.array(found.metadata["ids"]))
    assert said == [f"step {step}", "always", f"{step} " * 1000], f"wrong texts in step {step}"
    return step


def save(folder, report, first, seed):
    """Save again and again: to one path, and to a manager, in the foreground and not; report what is done."""
    choose = random.Random(seed)
    with jb.checkpoint.Manager(folder / "run", keep=KEEP) as manager:
        for step in range(first, first + 10**6):
            table, ids = texts(step)
            background = choose.random() < 0.5
            given = {"tables": table, "metadata": {"ids": ids}}
            manager.save(step, tree(step), background=background, **given)
            if not background:
                os.write(report, f"run {step}\n".encode())
            else:
                jb.checkpoint.save(folder / "one", tree(step), overwrite=True, **given)
                os.write(report, f"one {step}\n".encode())
                manager.wait()
                os.write(report, f"run {step}\n".encode())


def forked(work, *arguments):
    if child := os.fork():
        return child
    try:
        work(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def main(root, kills, seed):
    delays, done, saves, leftovers = random.Random(seed), {"one": -1, "run": -1}, 0, 0
    slow = 1.0
    for n in range(kills):
        folder = root / str(n // EVERY)
        if n % EVERY == 0:
            folder.mkdir()
            done = {"one": -1, "run": -1}
        end, report = os.pipe()
        child = forked(save, folder, report, max(done.values()) + 1 + n, n)
        os.close(report)
        time.sleep(slow * delays.uniform(0.002, 0.12))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a process that saves ended by itself, see above"
        with os.fdopen(end) as lines:
            whole = [line.split() for line in lines if line.endswith("\n")]
        saves, slow = saves + len(whole), slow if whole else min(slow * 1.2, 20)
        for name, step in whole:
            done[name] = max(done[name], int(step))
        like = tree(0)
        manager = jb.checkpoint.Manager(folder / "run")
        if done["one"] >= 0:
            assert check(jb.checkpoint.restore(folder / "one", like)) >= done["one"], "a finished save is lost"
        if steps := manager.steps():
            assert check(manager.restore(like)) >= done["run"], "a finished save is lost"
            assert len(steps) <= KEEP + 1
            for step in steps:
                assert check(manager.restore(like, step)) == step
        else:
            assert done["run"] < 0, "every checkpoint is lost"
        leftovers += sum(name.endswith(".part") for _, _, names in os.walk(folder) for name in names)
    with jb.checkpoint.Manager(folder / "run") as manager:  # whoever comes next cleans up
        table, ids = texts(10**7)
        manager.save(10**7, tree(10**7), tables=table, metadata={"ids": ids})
        jb.checkpoint.save(folder / "one", tree(1), overwrite=True)
    left = [name for _, _, names in os.walk(folder) for name in names if not name.startswith(("step-", "one"))]
    assert not left, left
    print(f"{kills} kills, {saves} saves, {leftovers} leftovers, 0 lost, 0 wrong")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
