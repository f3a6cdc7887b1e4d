"""GPUs add up the counts of few streams by another path, tried here on any device."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbuffers.numerics import search


@pytest.mark.parametrize("streams", [1, 2, 16, search.FEW])
def test_masked_sums_are_the_running_sums_bit_for_bit(streams):
    count = np.random.default_rng(streams).integers(-(2**31), 2**31, streams).astype(np.int32)  # sums wrap around
    want = np.cumsum(count.astype(np.int64)).astype(np.int32)
    for sums in (search.running, search._masked_sums):
        got = sums(jnp.asarray(count))
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, want)
