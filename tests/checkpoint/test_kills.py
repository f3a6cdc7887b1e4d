"""kill -9 at any moment of a save, of its rotation, in the foreground or not; see processes.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tier import budget

KILLS = budget(8, 250)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_savers_are_killed_and_no_finished_save_is_lost_nor_a_wrong_byte_read(tmp_path, capsys):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(Path(__file__).parent / "processes.py"),
        str(tmp_path),
        str(KILLS),
        "0",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    said = re.fullmatch(r"(\d+) kills, (\d+) saves, (\d+) leftovers, 0 lost, 0 wrong\n", done.stdout)
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")
    kills, saves, _ = map(int, said.groups())
    assert kills == KILLS
    assert saves > 0, "they were killed too early to tell"
