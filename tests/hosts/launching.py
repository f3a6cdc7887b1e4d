"""Processes of one run of jax.distributed: started, watched and ended by the ids that were started."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 240  # for anything to happen; far more than it takes


class Run:
    """So many processes, each of which runs a program; what they say is in files in a folder."""

    def __init__(self, folder, count, *job, devices, program=HERE / "job.py"):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        folder.mkdir()
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        given = os.environ | {
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": f"{HERE.parent.parent}{os.pathsep}{HERE.parent}",
        }
        self.folder, self.count, self.processes = folder, count, []
        for number in range(count):
            command = [sys.executable, str(program), str(number), str(count), f"localhost:{port}", *map(str, job)]
            with (folder / f"out{number}").open("w") as out, (folder / f"err{number}").open("w") as err:
                self.processes.append(subprocess.Popen(command, env=given, cwd=folder, stdout=out, stderr=err))

    def said(self, number):
        """The whole lines that a process has printed."""
        return [
            line for line in (self.folder / f"out{number}").read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def complained(self, number):
        return (self.folder / f"err{number}").read_text()

    def until(self, number, word):
        """Wait until a process has printed a line that begins so."""
        deadline = time.monotonic() + SECONDS
        while not any(line.startswith(word) for line in self.said(number)):
            assert time.monotonic() < deadline, f"process {number} never said {word!r}: {self.all()}"
            assert self.processes[number].poll() is None, f"process {number} has ended: {self.all()}"
            time.sleep(0.02)

    def running(self):
        return all(each.poll() is None for each in self.processes)

    def kill(self, number):
        self.processes[number].kill()
        self.processes[number].wait()

    def ended(self, but=()):
        """Wait until all have ended; how they did."""
        for number, each in enumerate(self.processes):
            if number not in but:
                each.wait(SECONDS)
        return [each.returncode for each in self.processes]

    def all(self):
        return "\n".join(
            f"--- {number}: {''.join(self.said(number))}\n{self.complained(number)[-3000:]}"
            for number in range(self.count)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in self.processes:
            each.kill()
            each.wait()
