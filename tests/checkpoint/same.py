"""Whether two trees are the same, bit for bit."""

import jax
import numpy as np


def bits(leaf):
    """All that can be told of a leaf: type, dtype, shape, weak type, and every byte."""
    if not hasattr(leaf, "dtype"):
        return type(leaf), repr(leaf)
    kind = np.ndarray if isinstance(leaf, np.ndarray) else np.generic if isinstance(leaf, np.generic) else jax.Array
    name, weak = str(leaf.dtype), getattr(leaf, "weak_type", False)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        name, leaf = (name, str(jax.random.key_impl(leaf))), jax.random.key_data(leaf)
    return kind, name, np.shape(leaf), weak, np.asarray(leaf).tobytes()


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(one)[0], jax.tree.leaves(other), strict=True):
        assert bits(a) == bits(b), jax.tree_util.keystr(path)


def differ(one, other):
    """Whether any leaf is another: what a test of sameness could have noticed."""
    return any(bits(a) != bits(b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def scrambled(tree):
    """The same tree with other values: what a checkpoint must overwrite entirely."""

    def other(leaf):
        if isinstance(leaf, bool | int | float | str):
            return type(leaf)()
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jax.random.key_data(leaf) + 1, impl=jax.random.key_impl(leaf))
        if isinstance(leaf, np.ndarray | np.generic):
            return type(leaf)(np.zeros_like(leaf)) if isinstance(leaf, np.generic) else np.zeros_like(leaf)
        return jax.numpy.zeros_like(leaf)

    return jax.tree.map(other, tree)
