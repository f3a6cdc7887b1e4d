"""kill -9 at any moment, and readers beside a writer; see processes.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tier import budget

KILLS, COMMITS, STRIDE = budget((12, 40, 15), (500, 400, 1))


def run(*arguments):
    """Run the script in a process of its own, and return what it says."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / "processes.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_writers_are_killed_and_no_committed_episode_is_lost(folder):
    said = run("kill", folder, KILLS, 0)
    print(said)
    kills, committed, midway, checked = map(int, re.findall(r"\d+", said))
    assert kills == KILLS
    assert committed > KILLS
    assert checked > KILLS
    assert midway > KILLS / 2, "it was hardly ever killed amid a change"


def test_a_writer_is_killed_at_each_of_its_steps(folder):
    said = run("steps", folder, STRIDE)
    print(said)
    kills, before, after = map(int, re.findall(r"\d+", said))
    assert kills >= 20
    assert before > 0 < after, "it was never killed before, or after, a change was made"


def test_readers_in_other_processes_follow_and_see_whole_episodes(folder):
    assert run("read", folder, COMMITS) == "all read\n"


def test_a_forked_process_is_refused_and_the_store_goes_on(folder):
    assert run("fork", folder) == "refused there, whole here\n"
