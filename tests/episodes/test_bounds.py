"""Numbers at the ends of what 64 bits hold: right, or refused by name."""

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, UnknownEpisodeError


@pytest.mark.parametrize("start", [2**63 - 1, 2**63 - 4, -(2**63), 5, -3])
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("width", [1, 5000])
def test_starts_far_outside_are_refused_by_name(make, start, pad, width):
    store = make()
    store.add_episode({"x": np.zeros((5, width), np.uint8)})
    with pytest.raises(ShapeError, match=rf"rows {start} to {start + 2} of episode 0 were asked for, which has 5"):
        store.read([0], [start], 3, pad=pad)
    with pytest.raises(ShapeError, match=r"which has 5 rows"):
        store.read([0], [0], 2**70)


def test_numbers_that_64_bits_do_not_hold_are_refused_by_name(make):
    store = make()
    store.add_episode({"x": np.zeros(5, np.float32)})
    for starts in (np.array([2**64 - 1], np.uint64), np.uint64(2**63)):
        with pytest.raises(DtypeError, match="starts must fit 64 bits"):
            store.read([0], starts, 3, pad=True)
    with pytest.raises(UnknownEpisodeError, match=f"episode {2**63} is not in the store"):
        store[2**63]
    assert 2**63 not in store
    with pytest.raises(ConfigurationError, match=r"stream must be less than 2\*\*63"):
        store.add_episode({"x": np.zeros(5, np.float32)}, stream=2**63)
    with pytest.raises(ConfigurationError, match=r"segment_bytes must be less than 2\*\*63"):
        jb.EpisodeStore(segment_bytes=2**63)
    assert store.add_episode({"x": np.zeros(5, np.float32)}, stream=2**63 - 1) == 1
    assert store.metadata["stream"].tolist() == [-1, 2**63 - 1]
