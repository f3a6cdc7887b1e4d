"""What the tests of errors make mistakes with."""

import jax
import jax.numpy as jnp
import numpy as np


def zeros(shape=(), dtype=jnp.float32):
    """Zeros of one dtype, with or without 64-bit types."""
    return np.zeros(shape, dtype)


FLAGS = dict.fromkeys(("is_first", "is_last", "is_terminal"), np.bool_(False))
ROW = {
    "obs": {"image": zeros((3, 5), jnp.uint8), "s": zeros(3)},
    "action": np.int32(0),
    "reward": np.float32(0),
}
ROW |= FLAGS
NARROW = not jax.config.jax_enable_x64
ENVS = 2


def rows(*lead, **changed):
    return jax.tree.map(lambda leaf: zeros((*lead, *leaf.shape), leaf.dtype), ROW) | changed


def says(caught, *parts):
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in: {caught.value}"
