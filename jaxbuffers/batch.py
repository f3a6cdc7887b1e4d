"""What a sample returns, and what views and samplers say to each other."""

from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import TypeVar

from jaxbuffers.errors import DtypeError, ShapeError, StructureError

Data = TypeVar("Data", default=Any)  # what a view reads: a row, a `Transition`, an `Episode`, ...


@struct.dataclass
class Index:
    """Where sampled rows live: absolute addresses that notice when they have become stale.

    Attributes:
      stream: int32, the environment that each row came from.
      time: int32, the row's time in its stream; -1 where there is no row. Times count rows from
        0, and start again at a multiple of the ring length near 2**30.
    """

    stream: jax.Array
    time: jax.Array


@struct.dataclass
class Batch(Generic[Data]):
    """B sampled windows.

    Attributes:
      data: what the view reads, leaves ``[B, ...]``; zero where ``mask`` is False.
      index: `Index` of the rows behind ``data``, with the shape of ``mask``, for
        ``update`` and ``get``.
      probability: float32 ``[B]``, the probability with which one draw points at this window.
      valid: bool ``[]``, False if the sampler had no legal window to draw, or too few; all data is zero then.
        `Replay.can_sample` says so beforehand.
    """

    data: Data
    index: Index
    probability: jax.Array
    valid: jax.Array

    @property
    def mask(self) -> jax.Array:
        """True where ``data`` holds a row: bool ``[B]``, or ``[B, L]`` for sequences."""
        return self.index.time >= 0


@struct.dataclass
class Draw:
    """The windows that a sampler points at.

    Attributes:
      stream: int32 ``[B]``.
      start: int32 ``[B]``, the time of each window's first required row.
      probability: float32 ``[B]``, of each window under the sampler; 0 where nothing was legal.
      valid: bool ``[B]``, whether there was a window to point at; see `Sampler.can_draw`.
    """

    stream: jax.Array
    start: jax.Array
    probability: jax.Array
    valid: jax.Array

    @classmethod
    def of(
        cls, stream: jax.Array, start: jax.Array, probability: jax.Array | None = None, valid: jax.Array | None = None
    ) -> "Draw":
        """Return a draw whose invalid entries are zero throughout, as every sampler's must be.

        Args:
          stream: int32 ``[B]``.
          start: int32 ``[B]``.
          probability: float32 ``[B]``; None for 1.
          valid: bool ``[B]``, or ``[]`` for all alike; None for True.

        Raises:
          DtypeError, ShapeError: naming the array.

        >>> import jax.numpy as jnp, jaxbuffers as jb
        >>> jb.Draw.of(jnp.int32([1, 2]), jnp.int32([7, 8]), jnp.float32([0.5, 0.5]), jnp.bool_([True, False])).start
        Array([7, 0], dtype=int32)
        """
        probability = jnp.ones(jnp.shape(stream), jnp.float32) if probability is None else probability
        every = jnp.ones(jnp.shape(stream), jnp.bool_)
        draw = check_draw(cls(stream=stream, start=start, probability=probability, valid=every))
        if valid is None:
            return draw
        _check("valid", valid, np.bool_, (stream.shape, ()))
        return draw.only(valid)

    def only(self, valid: jax.Array) -> "Draw":
        """Return the draw with every entry invalid, and zero, where ``valid`` (``[B]`` or ``[]``) is False."""
        valid = self.valid & valid
        return Draw(
            stream=jnp.where(valid, self.stream, 0),
            start=jnp.where(valid, self.start, 0),
            probability=jnp.where(valid, self.probability, 0),
            valid=valid,
        )


def check_draw(draw: Draw) -> Draw:
    """Return a draw; refuse what is none, and arrays of other dtypes or shapes."""
    if not isinstance(draw, Draw):
        raise StructureError(f"expected a jb.Draw, got {type(draw).__name__}; write jb.Draw.of(stream, start).")
    shape = jnp.shape(draw.stream)
    if len(shape) != 1:
        raise ShapeError(f"the draw's stream has shape {shape}, expected [B]: one entry for each window.")
    kinds = {"stream": np.int32, "start": np.int32, "probability": np.float32, "valid": np.bool_}
    for name, dtype in kinds.items():
        _check(name, getattr(draw, name), dtype, (shape,))
    return draw


def _check(name: str, x: Any, dtype: type, shapes: tuple[tuple[int, ...], ...]) -> None:
    got = getattr(x, "dtype", type(x).__name__)
    if got != dtype:
        raise DtypeError(f"the draw's {name} must be an array of {np.dtype(dtype)}, got {got}; nothing is cast.")
    if x.shape not in shapes:
        raise ShapeError(f"the draw's {name} has shape {x.shape}, expected {shapes[0]}, one entry for each window.")
