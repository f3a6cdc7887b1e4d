"""Whatever stands anywhere in a trajectory: it comes back as it was, or is refused by name."""

import copy
import dataclasses
import math

import numpy as np
import pytest

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories import Trajectory, TrajectoryPool
from trajectories.made import Thing, trajectory

ODD = [
    None, True, 0, -1, 1.5, -0.0, math.nan, -math.inf, 2**63, 10**5000, "", "\ud800", "é\n'\"\0", [], {}, [[]],
    {"a": [1, {"b": "\udfff"}]}, {1: 2}, (1, 2), b"x", object(), int, range(2), np.float32(1.5), np.int64(3),
    np.zeros(2), np.str_("x"), Thing(task_name="x"), "[1e999]", '[{"role": "user", "content": null}]',
]  # fmt: skip
WHOLE = trajectory(0, 1, iteration=1, group_id=3, columns={"score": 0.5, "level": 1}).to_dict()


def places(value, path=()):
    """Every place in lists and dicts, but the whole."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


@pytest.mark.parametrize("unknown", ["refuse", "keep"])
def test_whatever_stands_anywhere_is_stored_or_refused(unknown):
    pool = TrajectoryPool(unknown=unknown, invalid_pages=True)
    pool.add(WHOLE)
    stored = 1
    for *path, key in places(WHOLE):
        for odd in ODD:
            data = copy.deepcopy(WHOLE)
            part = data
            for each in path:
                part = part[each]
            part[key] = odd
            try:
                made = Trajectory.from_dict(data, unknown)
                i = pool.add(data)
            except TrajectoryError as error:
                assert error.place  # noqa: PT017
                continue
            steps = [dataclasses.replace(step, same_as_next_screenshot=False) for step in made.steps]
            columns = {name: value for name, value in made.columns.items() if value is not None}
            assert pool.trajectory(i) == dataclasses.replace(made, steps=steps, columns=columns)
            stored += 1
    assert len(pool) == stored > 100
    assert len(list(pool)) == stored
