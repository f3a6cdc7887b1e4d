"""Batches of several sources made one: nothing is cast or broadcast, and windows are joined along their axis."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch
from jaxbuffers.batch_axes import Axes
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.row import Path, dtype_of, paths_of, show
from jaxbuffers.storage.bits import exactly
from jaxbuffers.texts import TextTable

Parts = dict[int, Batch]  # what some sources gave, by their numbers


def joined(parts: Parts, sizes: Sequence[int], axes: Sequence[int], weights: np.ndarray) -> tuple[Batch, jax.Array]:
    """Return one batch and the number of the source of each window; `checked` has seen the parts.

    Args:
      parts: the batches.
      sizes: how many windows each has.
      axes: along which axis of each leaf of data and index the windows lie.
      weights: float32, by which the probabilities of each are multiplied.
    """
    return _joining(tuple(axes), tuple(parts), tuple(sizes))(list(parts.values()), weights)


def checked(parts: Parts, sizes: Sequence[int], axes: Sequence[int]) -> None:
    """Refuse parts that are not the same but for the number of their windows.

    Raises:
      DtypeError, ShapeError: naming the leaf and the sources.
    """
    (first, batch), *_ = parts.items()
    leaves = paths_of({"data": batch.data, "index": batch.index})
    for (number, other), size in zip(parts.items(), sizes, strict=True):
        for name, x, dtype, shape in (
            ("probability", other.probability, np.float32, (size,)),
            ("valid", other.valid, np.bool_, ()),
        ):
            if x.dtype != dtype or x.shape != shape:
                wanted = f"{np.dtype(dtype)}{list(shape)}"
                kind = DtypeError if x.dtype != dtype else ShapeError
                raise kind(f"{name} of source {number} is {x.dtype}{list(x.shape)}, expected {wanted}.")
        others = jax.tree.leaves((other.data, other.index))
        for (path, a), b, axis in zip(leaves.items(), others, axes, strict=True):
            if (one := _dtype(path, a)) != (two := _dtype(path, b)):
                raise DtypeError(
                    f"{show(path)} is {one} from source {first}, {two} from source {number}; nothing is cast: store "
                    f"it as one dtype."
                )
            if np.ndim(b) <= axis or b.shape[axis] != size:
                raise ShapeError(
                    f"{show(path)} from source {number} has shape {list(np.shape(b))}, not its {size} windows "
                    f"along axis {axis}: give Mixture(..., batch_axis=)."
                )
            if _without(a.shape, axis) != _without(b.shape, axis):
                raise ShapeError(
                    f"{show(path)} has shape {list(a.shape)} from source {first}, {list(b.shape)} from source "
                    f"{number}: they may differ along axis {axis} only."
                )


def told(axes: dict[int, Axes], parts: Parts, batch_axis: int | None) -> tuple[int, ...] | None:
    """Return the axes that the views of some sources say; None if none says any.

    Raises:
      StructureError: they contradict one another, or ``batch_axis``.
    """
    if not axes:
        return None
    (first, (_, found)), *_ = axes.items()
    for number, (structure, others) in axes.items():
        if any(jax.tree.structure({"data": b.data, "index": b.index}) != structure for b in parts.values()):
            raise different()
        if others != found:
            raise StructureError(f"windows lie along other axes in source {number} than in source {first}; {_SAME}")
    if batch_axis is not None and found[-1] != min(batch_axis, np.ndim(next(iter(parts.values())).index.time) - 1):
        raise StructureError(f"batch_axis={batch_axis}, but in source {first} windows lie along axis {found[-1]}.")
    return found


def seen(parts: Parts, sizes: Sequence[int]) -> int:
    """Return the one axis of the index that has the size of every part; the first where it has no other.

    Raises:
      StructureError: there is none, or several.
    """
    shapes = [batch.index.time.shape for batch in parts.values()]
    if {len(shape) for shape in shapes} == {1}:
        return 0
    fitting = [axis for axis, lengths in enumerate(zip(*shapes, strict=False)) if lengths == tuple(sizes)]
    if len(fitting) != 1:
        raise StructureError(
            f"the sources give batches with indices of shapes {shapes} for {list(sizes)} windows, which do not say "
            f"along which axis windows lie: give Mixture(..., batch_axis=)."
        )
    return fitting[0]


def along(axis: int, batch: Batch) -> tuple[int, ...]:
    """Return an axis for each leaf of data and index: the same for all, the last for those with fewer axes."""
    return tuple(min(axis, np.ndim(leaf) - 1) for leaf in jax.tree.leaves((batch.data, batch.index)))


def texts_of(parts: dict[int, Batch | HostBatch]) -> tuple[TextTable | None, tuple[str, ...]]:
    """Return the table of the texts of some parts, and the names of the fields that hold any.

    Raises:
      ConfigurationError: they are in different tables, so that their ids do not mean the same.
      StructureError: a part does not say where its texts are, or which fields hold any.
    """
    some = {i: part for i, part in parts.items() if isinstance(part, HostBatch) and part.texts}
    if not some:
        return None, ()
    (first, known), *_ = some.items()
    for number, part in parts.items():
        if not isinstance(part, HostBatch):
            raise StructureError(
                f"source {first} has texts, and source {number} does not say in which table its own are: return "
                f"jb.HostBatch(batch, table, {known.texts})."
            )
        if part.texts != known.texts:
            raise StructureError(f"source {first} has texts in {known.texts}, source {number} in {part.texts}.")
        if part.table is not known.table:
            raise ConfigurationError(
                f"sources {first} and {number} have their texts in different tables, so that ids do not mean the same: "
                f"share one, as in jb.HostReplay(replay, fields, table=store.texts)."
            )
    return known.table, known.texts


def different() -> StructureError:
    """Return the error of batches that are not of one structure."""
    return StructureError(f"the sources give batches of different structures; {_SAME}")


_SAME = "read them all with the same view."


def _dtype(path: Path, leaf: Any) -> np.dtype:
    return leaf.dtype if isinstance(leaf, jax.Array) else dtype_of(show(path), leaf)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


@lru_cache(maxsize=256)
def _joining(axes: Sequence[int], numbers: Sequence[int], sizes: Sequence[int]) -> Any:
    def join(batches: list[Batch], weights: jax.Array) -> tuple[Batch, jax.Array]:
        trees = [(batch.data, batch.index) for batch in batches]
        structure = jax.tree.structure(trees[0])
        leaves = [
            exactly(lambda *some, axis=axis: jnp.concatenate(some, axis), *each)
            for axis, *each in zip(axes, *map(jax.tree.leaves, trees), strict=True)
        ]
        data, index = jax.tree.unflatten(structure, leaves)
        return Batch(
            data=data,
            index=index,
            probability=jnp.concatenate([batch.probability * weights[i] for i, batch in enumerate(batches)]),
            valid=jnp.all(jnp.stack([batch.valid for batch in batches])),
        ), jnp.repeat(jnp.array(numbers, jnp.int32), np.array(sizes), total_repeat_length=sum(sizes))

    return jax.jit(join)
