"""kill -9 at any point, and readers beside a writer; see processes.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tier import budget

KILLS, COMMITS = budget((15, 10), (250, 60))


def run_script(name, *arguments):
    """Run a script of this folder in a process of its own."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_scenarios(name, folder):
    """Run a script of scenarios: return which were content, and what they said."""
    done = run_script(name, folder)
    return json.loads(done.stdout), done.stderr


def run(*arguments):
    done = run_script("processes.py", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_writers_are_killed_and_nothing_saved_is_lost_nor_an_id_given_twice(tmp_path):
    said = run("kill", tmp_path, KILLS, 0)
    kills, saves, _ = map(int, re.fullmatch(r"(\d+) kills, (\d+) saves, (\d+) killed before a text\n", said).groups())
    assert kills == KILLS
    assert saves > 0, "it was killed too early to tell"


def test_two_processes_read_while_one_writes(tmp_path):
    assert run("read", tmp_path, COMMITS) == "all read\n"
