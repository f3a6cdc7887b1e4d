"""The mark of a text field in a row: on the device a text is the int32 id that a `TextTable` gave it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxbuffers.errors import ShapeError


@dataclass(frozen=True)
class TextField:
    """Says that a leaf of a row holds text ids: stands where an array or a ``jax.ShapeDtypeStruct`` would.

    ``jb.text`` is one text a row, ``jb.text[8]`` up to eight, such as the messages of a prompt; a missing one is -1.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items())
    >>> state = replay.init({"mission": jb.text, "reward": jnp.float32(0)})
    >>> state.spec.texts
    (('mission',),)
    """

    shape: tuple[int, ...] = ()
    dtype: ClassVar[np.dtype] = np.dtype(np.int32)

    def __getitem__(self, shape: int | tuple[int, ...]) -> "TextField":
        shape = shape if isinstance(shape, tuple) else (shape,)
        sizes = tuple(int(n) for n in shape if isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1)
        if self.shape or not shape or len(sizes) < len(shape):
            raise ShapeError(f"write jb.text or jb.text[8], with sizes of at least 1; got {shape!r}.")
        return TextField(sizes)

    def __call__(self, *_: object) -> None:
        """Refuse what was meant as ``jb.text[8]``."""
        raise ShapeError("jb.text is no function; jb.text[8] marks a field of eight texts.")

    __iter__: ClassVar[None] = None  # having items, it would be a sequence otherwise


text = TextField()
