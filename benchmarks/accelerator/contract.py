"""The quick form of the contract suite, and of the exhaustive and the sampler tests, on the device's backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

TESTS = ("tests/contract", "tests/samplers/test_every_sampler.py", "tests/test_exhaustive.py")
ROOT = Path(__file__).parents[2]


def run(folder: Path, backend: str, seconds: float, workers: int, tests: tuple[str, ...] = TESTS) -> str:
    """Run the tests in a process of its own, write ``contract.txt``, and return its last lines."""
    command = [sys.executable, "-m", "pytest", "-m", "not long", "-v", "--durations=15"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark"]
    if workers > 1 and importlib.util.find_spec("xdist"):
        command += ["-n", str(workers), "--dist", "worksteal"]
    given = os.environ | {"JAXBUFFERS_TEST_PLATFORM": backend, "PYTHONUNBUFFERED": "1"}
    given |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # processes share the device
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "contract.txt").open("w") as file:
        process = subprocess.Popen(
            [*command, *tests], cwd=ROOT, env=given, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)  # a group that this function started
            code = None
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
    lines = (folder / "contract.txt").read_text().splitlines()
    if code is None:
        done = {word: sum(word in line for line in lines) for word in ("PASSED", "FAILED", "SKIPPED")}
        return f"stopped after {seconds:.0f} s: {done}"
    wanted = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    return "\n".join([*wanted[:40], lines[-1] if lines else "no output"])
