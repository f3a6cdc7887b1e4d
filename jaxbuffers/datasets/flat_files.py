"""Files of flat arrays."""

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxbuffers.datasets.imported import needed
from jaxbuffers.errors import StructureError

Arrays = Mapping[str, Any]


def open_arrays(source: str | os.PathLike | Arrays) -> Arrays:
    """Return arrays by their names; of an ``.hdf5`` file they are read piece by piece later on."""
    if isinstance(source, Mapping):
        return source
    path = os.fspath(source)
    if path.endswith(".npz"):
        return _Npz(path)
    if path.endswith((".hdf5", ".h5")):
        return _hdf5(path)
    raise StructureError(f"{path} is neither .npz nor .hdf5; or give a mapping of arrays.")


class _Npz(Mapping[str, np.ndarray]):
    """The arrays of an ``.npz`` file, each read when it is asked for."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                self._names = list(file.files)
        except (AttributeError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise StructureError(f"{path} is no .npz file, or a damaged one: {error}") from error

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            with open(self._path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                return file[name]
        except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise StructureError(f"array {name!r} of {self._path} cannot be read: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _hdf5(path: str) -> Arrays:
    h5py = needed("h5py", "minari")
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StructureError(f"{path} is no .hdf5 file, or a damaged one: {error}") from error
    found: dict[str, Any] = {}

    def visit(group: Any, within: tuple[Any, ...]) -> None:  # by every name, of links too, which visititems() is not
        for name, each in group.items():
            if isinstance(each, h5py.Dataset):
                found["/".join((*(part for part, _ in within), name))] = each
            elif isinstance(each, h5py.Group) and each != file and all(each != above for _, above in within):
                visit(each, (*within, (name, each)))

    visit(file, ())
    return found
