"""What `import jaxbuffers` brings: the device side, and the rooms on the host when they are asked for."""

import subprocess
import sys

import pytest

import jaxbuffers as jb

HOST = ("checkpoint", "datasets", "episodes", "host", "loading", "planet", "texts", "trajectories", "inspecting")


def said(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_rooms_on_the_host_wait_until_they_are_used():
    code = """
import sys
import jaxbuffers as jb
replay = jb.Replay(8, None, view=jb.Items(), sampler=jb.Prioritized())
print(*sorted(m for m in sys.modules if m.startswith("jaxbuffers.") or m == "sqlite3"))
jb.EpisodeStore, jb.TrajectoryPool, jb.HostReplay, jb.checkpoint.save, jb.planet.Memory
print("end", *sorted(m for m in sys.modules if m.startswith("jaxbuffers.")))
"""
    words = said(code)
    before, after = words[: words.index("end")], words[words.index("end") :]
    assert "sqlite3" not in before
    rooms = {name.split(".")[1] for name in before}
    assert not rooms & set(HOST)
    assert {"episodes", "host", "checkpoint", "planet", "trajectories"} <= {n.split(".")[1] for n in after[1:]}


def test_all_names_are_there_and_listed():
    assert set(jb.__all__) <= set(dir(jb))
    assert all(getattr(jb, name) is getattr(jb, name) for name in jb.__all__)


@pytest.mark.long  # quick: all names are there and listed, above
def test_a_star_brings_all_names():
    assert said("from jaxbuffers import *; print(EpisodeStore.__name__, datasets.__name__)") == [
        "EpisodeStore",
        "jaxbuffers.datasets",
    ]
