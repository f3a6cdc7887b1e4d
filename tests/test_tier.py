"""Which tests a run has: shares of all of them, for machines that have no time for the rest."""

import subprocess
import sys
from pathlib import Path

import pytest
import tier


def test_each_test_is_in_one_share_whatever_else_there_is():
    names = [f"tests/test_{i % 7}.py::test[{i}]" for i in range(400)]
    shares = [tier.share(names, f"{k}/4") for k in (1, 2, 3, 4)]
    assert [sum(places) for places in zip(*shares, strict=True)] == [1] * len(names)
    assert all(60 < sum(share) < 140 for share in shares)
    assert tier.share(names[100:], "2/4") == shares[1][100:]
    assert all(tier.share(names, "1/1"))


@pytest.mark.parametrize("which", ["0/4", "5/4", "4", "a/b", "-1/4", "1/0", ""])
def test_what_is_no_share_is_refused(which):
    with pytest.raises(pytest.UsageError, match=r"K/N with K from 1 to N"):
        tier.share(["tests/test_tier.py"], which)


@pytest.mark.parametrize("which, ends", [("", "such as 2/4; got "), ("5/4", "such as 2/4; got 5/4")])
def test_a_run_of_what_is_no_share_ends_before_it_begins(which, ends):
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-n", "2", "--share", which]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.rstrip("\n").endswith(ends)
