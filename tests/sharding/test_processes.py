"""Several processes share one sharded replay: each gives the rows of its own environments, and gets its own windows."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 240


@pytest.mark.long  # starts processes of JAX that compile for themselves
def test_two_processes_share_a_replay(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    given = os.environ | two | {"PYTHONPATH": str(HERE.parent.parent)}
    command = [sys.executable, str(HERE / "one_process.py")]
    running = [
        subprocess.Popen(
            [*command, str(number), "2", str(port)], stdout=subprocess.PIPE, text=True, env=given, cwd=tmp_path
        )
        for number in range(2)
    ]
    try:
        said = [each.communicate(timeout=SECONDS)[0] for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert [each.returncode for each in running] == [0, 0], said
    for number, text in enumerate(said):
        drawn = [float(x) for x in next(line for line in text.splitlines() if line.startswith("drawn")).split()[1:]]
        assert len(drawn) == 4
        assert {int(x) % 100 // 4 for x in drawn} == {number}, "windows of another process's environments"
