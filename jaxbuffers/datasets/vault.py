"""flashbax's Vaults in: zarr arrays that TensorStore reads; flashbax itself is not needed."""

import ast
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import jax
import numpy as np

from jaxbuffers.datasets.flat import Breaks, from_arrays
from jaxbuffers.datasets.imported import Imported, Pair, needed
from jaxbuffers.errors import StructureError
from jaxbuffers.row import paths_of


def from_vault(
    path: str | os.PathLike,
    *,
    names: Mapping[str, str] | None = None,
    breaks: Breaks = "refuse",
    narrow: bool = False,
    extras: Sequence[str] = (),
) -> Imported:
    """Read a Vault of flashbax: ``[B, T, ...]`` steps of B environments, as `from_arrays` reads each of them.

    A Vault says nothing about what its arrays mean. An entry is taken for a step: the observation, the action taken
    there, and the reward and the flags that followed. flashbax keeps no final observations, unless the entries have
    one under a name of their own, for ``names=dict(next_observations=...)``.

    Args:
      path: the folder with ``metadata.json``, ``vaults/NAME/UID``.
      names: what the arrays are called, such as ``dict(observations="obs", terminals="done")``; by default as here.
      breaks: see `from_arrays`.
      narrow: whether 64-bit types become 32-bit ones.
      extras: names of further arrays to keep.

    Returns:
      `Imported`; of each episode the columns ``env``, which environment, and ``final_observation``.

    Raises:
      StructureError: it is no Vault, a damaged one, or one of another version.
      MissingFieldError, ShapeError, DtypeError: the array is named.
    """
    arrays, streams = _open(os.path.abspath(path))

    def stream(number: int) -> Imported:
        cut = jax.tree.map(lambda column: column.of(number), arrays)
        return from_arrays(cut, breaks=breaks, narrow=narrow, extras=extras, names=names)

    parts = [stream(number) for number in range(streams)]

    def episodes() -> Iterator[Pair]:
        every = ([(number, pair) for pair in part] for number, part in enumerate(parts))
        return ((rows, {**columns, "env": number}) for number, (rows, columns) in chain.from_iterable(every))

    return Imported(parts[0].row, sum(map(len, parts)), episodes)


class _Column:
    """One leaf of a Vault: ``[N, ...]`` of one environment, read where it is cut."""

    def __init__(self, opened: Any, count: int, number: int = 0) -> None:
        self._opened, self._number = opened, number
        self.shape = (count, *opened.shape[2:])
        self.dtype = np.dtype(opened.dtype.numpy_dtype)

    def of(self, number: int) -> "_Column":
        return _Column(self._opened, self.shape[0], number)

    def __getitem__(self, part: slice) -> np.ndarray:
        first, stop, _ = part.indices(self.shape[0])
        return self._opened[self._number, first:stop].read().result()


def _open(path: str) -> tuple[Any, int]:
    """Return the arrays as they are nested, and how many environments there are."""
    tensorstore = needed("tensorstore", "minari")
    try:
        with open(os.path.join(path, "metadata.json")) as file:
            told = json.load(file)
        version, structure = float(told["version"]), told["structure_shape"]
    except FileNotFoundError as error:
        raise StructureError(f"{path} is no Vault: it has no metadata.json.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StructureError(f"{path}/metadata.json is not that of a Vault: {error!r}.") from error
    if int(version) != 1:
        raise StructureError(f"{path} is a Vault of version {version}; versions 1.x can be read.")

    def opened(name: str) -> Any:
        store = {"driver": "ocdbt", "base": f"file://{path}", "path": name}
        try:
            return tensorstore.open({"driver": "zarr", "kvstore": store}, open=True).result()
        except ValueError as error:
            raise StructureError(f"{path} has no array {name.strip('.')!r}, or a damaged one: {error}") from error

    if not isinstance(structure, dict):
        raise StructureError(f"{path} holds no named arrays, so that it cannot be said what they mean.")
    count = int(opened("vault_index").read().result()[0])
    shapes = {where: ast.literal_eval(shape) for where, shape in paths_of(structure).items()}
    leaves = {where: _Column(opened("".join(f"{key}." for key in where)), count) for where in shapes}
    return _nested(leaves), next(iter(shapes.values()))[0]


def _nested(leaves: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for where, leaf in leaves.items():
        at = found
        for key in where[:-1]:
            at = at.setdefault(key, {})
        at[where[-1]] = leaf
    return found
