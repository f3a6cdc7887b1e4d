"""Parquet out: what is known of the episodes, and the small fields of their rows, for pandas, polars and DuckDB."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.datasets.imported import needed
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.where import chosen, metadata_of
from jaxbuffers.errors import ConfigurationError, DtypeError, EmptyReplayError, MissingFieldError, StructureError
from jaxbuffers.row import RowSpec, field, paths_of, row_of

AT_ONCE = 2**16  # rows of a group in the file, or fewer
LARGE = 2**26  # bytes of a group from which it is written
HELD = "biuf"  # kinds of dtypes that Arrow has


def to_parquet(
    store: EpisodeStore,
    episodes: str | os.PathLike,
    rows: str | os.PathLike | None = None,
    *,
    fields: Sequence[str] | None = None,
    max_bytes: int = 1024,
    where: Any = None,
) -> list[str]:
    """Write the columns of the catalog as one Parquet file, and fields of the rows as another; needs ``arrow``.

    The file of the rows has a line for each row: ``episode`` (its id), ``time`` (from 0), and the fields by their names
    joined by dots (``value`` for a row that is one array); arrays as lists of fixed size, texts as strings. Where an
    episode has no value there is a null; nor has the catalog another word for a NaN.

    Files that are there already are replaced, once the new ones are whole: after an error they are as they were.

    Args:
      store: the episodes.
      episodes: the file for what is known of them, a line for each.
      rows: the file for their rows; None for none.
      fields: names of leaves, such as ``"obs.position"``; None for all that have at most ``max_bytes`` a row and that
        Arrow can hold.
      max_bytes: see ``fields``.
      where: which episodes; see `EpisodeStore.episodes`.

    Returns:
      The names of the fields that were written, so that it can be seen which were not.

    Raises:
      MissingFieldError: there is no such field.
      DtypeError: Arrow cannot hold its dtype, such as bfloat16, or a text with half a surrogate pair.
      EmptyReplayError: the store does not know yet what a row is.
      StructureError: two fields have one name in the file.
      ConfigurationError: both files are one.
    """
    arrow, parquet = needed("pyarrow", "arrow"), needed("pyarrow.parquet", "arrow")
    size = positive("max_bytes", max_bytes)
    if rows is not None and os.path.realpath(rows) == os.path.realpath(episodes):
        raise ConfigurationError(f"{os.fspath(rows)} cannot be the file of the episodes and that of the rows.")
    table = store.table()
    at = chosen(table, where)
    columns = {name: _column(arrow, column[at]) for name, column in metadata_of(table).items()}
    spec, names = store.spec, {}
    if rows is not None:
        if spec is None:
            raise EmptyReplayError("the store has no episode yet, and does not know what a row is.")
        names = _chosen_fields(spec, fields, size)
    with _whole(episodes) as file:
        parquet.write_table(arrow.table(columns), file)
        if rows is not None and spec is not None:
            with _whole(rows) as other:
                _write_rows(arrow, parquet, store, other, names, _mask(len(table), at))
    return list(names)


@contextmanager
def _whole(path: str | os.PathLike) -> Iterator[str]:
    """Give the name of a file that takes the place of another one unless there is an error."""
    part = f"{os.fspath(path)}.part"
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


def _write_rows(arrow: Any, parquet: Any, store: EpisodeStore, path: str, names: dict[str, int], where: Any) -> None:
    """Write the fields that have names, of all rows of some episodes."""
    spec = store.spec
    assert spec is not None
    kinds = {name: _type(arrow, spec, i) for name, i in names.items()}
    schema = arrow.schema({"episode": arrow.int64(), "time": arrow.int32()} | kinds)
    top = _top(spec, names.values())
    with parquet.ParquetWriter(path, schema) as file, _Groups(arrow, file) as groups:
        for episode in store.episodes(where, top):
            leaves = paths_of(episode.rows)
            held = {
                "episode": np.full(len(episode), episode.id, np.int64),
                "time": np.arange(len(episode), dtype=np.int32),
            }
            for name, i in names.items():
                leaf, texts = leaves[spec.paths[i]], spec.paths[i] in spec.texts
                held[name] = store.texts.lookup(leaf) if texts else leaf
            arrays = [_named(arrow, held[each.name], each) for each in schema]
            groups.add(arrow.table(arrays, schema=schema))


class _Groups:
    """Writes many small tables as few large groups of rows, which readers want."""

    def __init__(self, arrow: Any, file: Any) -> None:
        self._arrow, self._file = arrow, file
        self._tables: list[Any] = []

    def add(self, table: Any) -> None:
        if sum(map(len, self._tables)) + len(table) > AT_ONCE:
            self._write()
        self._tables.append(table)
        if sum(each.nbytes for each in self._tables) >= LARGE:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._write()

    def _write(self) -> None:
        if self._tables:
            self._file.write_table(self._arrow.concat_tables(self._tables), row_group_size=AT_ONCE)
            self._tables = []


def _chosen_fields(spec: RowSpec, fields: Sequence[str] | None, size: int) -> dict[str, int]:
    """Return the numbers of the leaves to write, by their names."""
    known = {".".join(path) or "value": i for i, path in enumerate(spec.paths)}
    if len(known) < len(spec.paths):
        raise StructureError("two fields of the rows have the same name when it is joined by dots; rename one.")
    if {"episode", "time"} & set(known):
        raise StructureError("the rows have a field 'episode' or 'time', as the file calls where a row is; rename it.")
    if fields is None:
        return {
            name: i
            for name, i in known.items()
            if spec.dtypes[i].kind in HELD and spec.dtypes[i].itemsize * int(np.prod(spec.shapes[i])) <= size
        }
    for name in fields:
        if name not in known:
            raise MissingFieldError(f"the rows have no field {name!r}; they have {', '.join(known)}.")
        if spec.dtypes[known[name]].kind not in HELD:
            raise DtypeError(f"Arrow cannot hold {spec.dtypes[known[name]]}, the dtype of {name!r}; leave it out.")
    return {name: known[name] for name in fields}


def _top(spec: RowSpec, leaves: Iterable[int]) -> list[str] | None:
    """Return the top-level fields that have some leaves; None for all, where these have no names."""
    if any(not path or field(row_of(spec), path[0]) is None for path in spec.paths):
        return None
    return sorted({spec.paths[i][0] for i in leaves})


def _type(arrow: Any, spec: RowSpec, leaf: int) -> Any:
    found = arrow.string() if spec.paths[leaf] in spec.texts else arrow.from_numpy_dtype(spec.dtypes[leaf])
    for size in reversed(spec.shapes[leaf]):
        found = arrow.list_(found, size)
    return found


def _named(arrow: Any, values: Any, field: Any) -> Any:
    try:
        return _array(arrow, values, field.type)
    except UnicodeEncodeError as error:
        raise DtypeError(
            f"a text of {field.name!r} has half a surrogate pair, which Arrow cannot hold; leave the field out."
        ) from error


def _array(arrow: Any, values: Any, kind: Any) -> Any:
    if isinstance(values, list):
        return arrow.array(values, kind)
    if not arrow.types.is_fixed_size_list(kind):
        return arrow.array(np.ascontiguousarray(values), kind)
    flat = np.ascontiguousarray(values).reshape(-1, *values.shape[2:])
    return arrow.FixedSizeListArray.from_arrays(_array(arrow, flat, kind.value_type), kind.list_size)


def _column(arrow: Any, column: np.ndarray) -> Any:
    if isinstance(column, np.ma.MaskedArray):
        return arrow.array(column.data, mask=np.ma.getmaskarray(column))
    if column.dtype == object:
        return arrow.array(column.tolist(), arrow.string())
    return arrow.array(column, from_pandas=True)  # NaN is null: SQLite, and so the catalog, has no other word for it


def _mask(count: int, at: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, np.bool_)
    mask[at] = True
    return mask
