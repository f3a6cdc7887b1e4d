"""In a process of its own a resumed run gives new texts the same ids, and finds functions by their names."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np, jaxbuffers as jb
def favour(windows):
    return windows.age * 0.5
replay = jb.Replay(16, None, 2, jb.Items(), jb.Weighted(favour))
buffer = jb.HostReplay(replay, {"obs": jb.text, "reward": np.float32})
first, last = map(int, sys.argv[2:])
if first:
    buffer.load(sys.argv[1] + f"/{first}")
batches = buffer.batches(prefetch=1)
for i in range(first, last):
    buffer.insert(obs=f"text {i}", reward=i)
    if i > 4:
        next(batches)
    if i == 9 and not first:
        buffer.save(sys.argv[1] + "/10")
rows = buffer.get(jb.Index(np.zeros(12, np.int32), np.arange(8, 20, dtype=np.int32)))[0]
print(rows["obs"].tolist(), next(batches)["obs"], buffer.sample()["obs"])
"""


def run(*arguments):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.long  # quick: ids in test_tables.py, a fresh process in tests/loading/test_going_on.py
def test_a_run_that_is_resumed_in_another_process_ends_as_the_uninterrupted_one(tmp_path):
    whole = run(tmp_path, 0, 20)
    assert run(tmp_path, 10, 20) == whole
    assert "text" in whole
