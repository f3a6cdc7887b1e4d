"""Files of JSON lines that are damaged: one bad line is one bad trajectory."""

import pytest

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories import TrajectoryPool, read_jsonl
from trajectories.made import trajectory


def test_a_line_that_is_not_utf_8_is_one_bad_trajectory(tmp_path):
    path, good = tmp_path / "some.jsonl", trajectory(0).to_json().encode()
    path.write_bytes(good + b"\n" + good.replace(b"task 0", b"task \xff") + b"\n" + good)
    pool = TrajectoryPool(bad="set_aside")
    assert pool.from_jsonl(path).tolist() == [0, -1, 1]
    assert str(pool.set_aside[0].error).startswith(f"{path}:2 is no JSON: 'utf-8' codec can't decode byte 0xff")
    with pytest.raises(TrajectoryError, match=r"some.jsonl:2 is no JSON"):
        list(read_jsonl(path))
