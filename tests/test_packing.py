"""The words of a row hold the bytes of its small leaves side by side: the same layout for every version and path."""

import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

from jaxbuffers.row import RowSpec
from jaxbuffers.storage.packing import Packing

LEAD = (2, 3)
NARROW = ["int8", "bool", "float16", "uint8", "bfloat16", "float8_e5m2", "int16", "bool", "int8", "uint16", "bool"]


def words_of(leaves):
    """Words by hand: the bytes of the leaves, the widest first, each width filled up to whole words."""
    groups = []
    for size in (4, 2, 1):
        items = [x.reshape(*LEAD, -1).view(np.uint8) for x in leaves if x.dtype.itemsize == size]
        if items:
            together = np.concatenate(items, axis=-1)
            groups.append(np.pad(together, [(0, 0)] * len(LEAD) + [(0, -together.shape[-1] % 4)]))
    return np.concatenate(groups, axis=-1).view("<u4")


@pytest.mark.parametrize("wider", [(), (3,)], ids=["all alone", "one of three"])
def test_narrow_leaves_lie_at_their_bytes_and_come_back(wider):
    random = np.random.default_rng(0)
    shapes = [(), (1,), (), (1, 1), (), (), (), (1,), (), (), wider]
    leaves = []
    for shape, dtype in zip(shapes, map(jnp.dtype, NARROW), strict=True):
        raw = random.integers(0, 256, (*LEAD, *shape, dtype.itemsize), np.uint8)
        bits = raw % 2 if dtype == np.bool_ else raw
        leaves.append(bits.view(dtype).reshape(*LEAD, *shape))
    leaves.append(random.random(LEAD).astype(np.float32))
    packing = Packing.of(RowSpec.of([np.zeros(x.shape[len(LEAD) :], x.dtype) for x in leaves]))

    @quick_jit
    def both_ways(leaves):
        words = packing.pack(dict(enumerate(leaves)), LEAD)
        return words, [packing.unpack(words, i) for i in range(len(leaves))]

    words, back = both_ways(leaves)
    np.testing.assert_array_equal(words, words_of(leaves))
    for got, put in zip(back, leaves, strict=True):
        assert (got.dtype, got.shape) == (put.dtype, put.shape)
        assert np.asarray(got).tobytes() == put.tobytes()
