"""GPUs read rows of narrow numbers by their words, by the path that is tried here on any device."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbuffers.storage import ring
from jaxbuffers.storage.bits import in_words, through_words

SLOT, STREAM = jnp.uint32([2, 0, 4]), jnp.uint32([1, 0, 1])
MASK = jnp.array([True, False, True])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_rows_read_by_their_words_are_the_rows(dtype):
    bits = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 8 * np.dtype(dtype).itemsize), np.uint8)
    block = jnp.asarray(bits.view(dtype))
    assert in_words(block)
    got = through_words(ring._rows, block, SLOT, STREAM, MASK)
    want = np.asarray(block)[np.asarray(SLOT), np.asarray(STREAM)] * np.asarray(MASK)[:, None, None].astype(dtype)
    assert got.dtype == dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 2, 1, 7), np.uint8), ((5, 2, 1, 3), np.uint16), ((5, 2, 1, 8), np.float32)]
)
def test_what_does_not_fill_words_or_is_wide_already_is_read_as_it_is(shape, dtype):
    assert not in_words(jnp.zeros(shape, dtype))
