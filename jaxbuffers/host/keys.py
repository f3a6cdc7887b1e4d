"""Keys as the shells hold them: a program takes and returns plain words faster than a typed key."""

from typing import NamedTuple

import jax


class Key(NamedTuple):
    """A PRNG key, taken apart.

    Attributes:
      words: uint32 ``[n]``.
      impl: the name of its algorithm; None for a key of the old style, which is its words.
    """

    words: jax.Array
    impl: str | None

    @classmethod
    def of(cls, key: jax.Array) -> "Key":
        """Take a key apart."""
        if not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
            return cls(key, None)
        return cls(jax.random.key_data(key), str(jax.random.key_impl(key)))

    @property
    def whole(self) -> jax.Array:
        """The key, as it was given."""
        return self.words if self.impl is None else jax.random.wrap_key_data(self.words, impl=self.impl)
