"""Draws of the shells are uniform over the rows that are there, also after the ring has gone around."""

import numpy as np
import pytest
from oracle.statistics import fits

import jaxbuffers as jb
from host.experts import screen, trajectory
from host.shells import shell

CAPACITY, DRAWS = 8, 100_000


def skews(cells):
    """Distributions over the rows that a wrong ring would draw from, oldest row first."""
    null = np.full(cells, 1 / cells)
    least, twice = null.copy(), null.copy()
    least[0] *= 0.7  # the oldest row, or the newest, comes too rarely
    twice[-1] *= 1.3
    slope = null * np.linspace(0.9, 1.1, cells)
    return null, {name: x / x.sum() for name, x in (("oldest", least), ("newest", twice), ("slope", slope))}


@pytest.mark.parametrize("rows", [3, 8, 9, 21])
def test_rows(rows):
    buffer = shell(CAPACITY, fields={"x": np.int32}, seed=3)
    for i in range(rows):
        buffer.insert(x=i)
        assert len(buffer) <= CAPACITY
    oldest = max(0, rows - CAPACITY)
    drawn = np.asarray(buffer.sample(DRAWS).data["x"]) - oldest
    assert 0 <= drawn.min() <= drawn.max() < rows - oldest
    fits(np.bincount(drawn, minlength=rows - oldest), *skews(rows - oldest))


@pytest.mark.parametrize("trajectories", [2, 9])
def test_transitions_of_demonstrations(trajectories):
    demos = jb.Demonstrations(CAPACITY, screen(0, 1), seed=5)
    for k in range(trajectories):
        demos.insert_trajectory(trajectory(3, 4 * k, size=1))
        assert len(demos) <= CAPACITY
    assert len(demos) == 6  # of two trajectories, with a last row each
    drawn = np.asarray(demos.sample(DRAWS).data["image_features"])[:, 0].astype(int)
    places = [4 * k + i for k in range(trajectories - 2, trajectories) for i in range(3)]
    assert set(drawn.tolist()) == set(places)
    fits(np.bincount(drawn)[places], *skews(6))
