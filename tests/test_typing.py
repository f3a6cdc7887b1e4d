"""What a type checker sees from a user's file: fields of batches are known, and parts of one's own fit in."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.long  # quick: `make check` runs mypy over the same file
def test_a_users_file_is_sound_in_the_strict_mode_and_its_mistakes_are_found(tmp_path, pytestconfig):
    (tmp_path / "theirs.py").write_text((ROOT / "tests" / "typed_code.py").read_text())
    kept = getattr(pytestconfig, "cache", None)  # none with -p no:cacheprovider
    cache = kept.mkdir("mypy") if kept else tmp_path / "mypy"  # what it knows of JAX
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "theirs.py"]
    done = subprocess.run(command, cwd=tmp_path, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("theirs.py")], done.stdout
