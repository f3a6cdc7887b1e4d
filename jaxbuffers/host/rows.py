"""Rows as a Python loop gives them, to arrays: all is checked first, then the texts are stored."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import DtypeError, StructureError, debug_checks
from jaxbuffers.host import convert
from jaxbuffers.host.checks import ON_HOST, beside
from jaxbuffers.host.checks import written as given
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import RowSpec, field, paths_of, show
from jaxbuffers.texts import TextTable


class Rows:
    """Converts rows for one replay and one table."""

    def __init__(self, replay: Replay, spec: RowSpec, table: TextTable) -> None:
        self.replay, self.spec, self.table = replay, spec, table
        self._accepted: set = set()

    def arrays(self, state: ReplayState, rows: Any, mask: Any) -> tuple[Any, Any, tuple[int, ...]]:
        """Return rows and a mask that `Replay.add` takes, and their leading axes; or raise, with nothing stored."""
        mask = None if mask is None else given(mask)
        leaves = self._leaves(rows)
        lead = self._lead(leaves)
        for i, (path, shape, dtype) in enumerate(zip(self.spec.paths, self.spec.shapes, self.spec.dtypes, strict=True)):
            if path in self.spec.texts:
                leaves[i] = convert.texts(path, leaves[i], shape, lead)
            else:
                leaves[i] = convert.array(path, leaves[i], shape, dtype, lead)
        if any(type(x) not in ON_HOST for x in (*leaves, mask)):
            beside(state, dict(zip((*self.spec.paths, ("mask",)), (*leaves, mask), strict=True)))
        self._accept(state, lead, mask)
        written = np.ones(lead, np.bool_) if mask is None else np.asarray(mask)
        self._flags(leaves, written)
        return self.spec.treedef.unflatten(self._interned(leaves, lead, written)), mask, lead

    def named(self, fields: dict[str, Any]) -> Any:
        """Return a row made of its top-level fields."""
        row = self.spec.treedef.unflatten(self.spec.paths)
        if isinstance(row, dict):
            return fields
        try:
            if isinstance(row, list | tuple) and not hasattr(row, "_fields"):
                raise TypeError("the row was declared without names for its fields: give it to add()")
            return type(row)(**fields)
        except TypeError as error:
            names = ", ".join(map(".".join, self.spec.paths)) or "one without a name"
            raise StructureError(f"{error}; the fields are {names}.") from None

    def replacements(self, rows: Any, lead: tuple[int, ...]) -> Any:
        """Return what `Replay.update` takes as rows, those fields checked that there are; texts are known ids."""
        leaves, treedef = jax.tree.flatten(rows)
        for i, (path, leaf) in enumerate(paths_of(rows).items()):
            if isinstance(leaf, str):
                raise DtypeError(f"{show(path)} is a str; give ids instead, from buffer.table.intern(texts).")
            if path in self.spec.paths:
                at = self.spec.paths.index(path)
                leaves[i] = convert.array(path, leaf, self.spec.shapes[at], self.spec.dtypes[at], lead)
                if path in self.spec.texts:
                    self.table.lookup(np.asarray(leaf))  # raises if the table does not know them
        return jax.tree.unflatten(treedef, leaves)

    def _leaves(self, rows: Any) -> list[Any]:
        try:
            return self.spec.treedef.flatten_up_to(rows)
        except (ValueError, TypeError, AttributeError):
            names = {path[0] if path else "": None for path in self.spec.paths}
            if not isinstance(rows, dict) or set(rows) == set(names):
                raise StructureError(
                    f"expected a row with {', '.join(map('.'.join, self.spec.paths))}, in the containers that were "
                    f"declared; {self._misfit(rows)}."
                ) from None
            missing, unknown = [n for n in names if n not in rows], [str(n) for n in rows if n not in names]
            hint = " jb.Recorder makes such rows of what an environment returns." if "is_last" in missing else ""
            raise StructureError(
                f"missing fields: {', '.join(missing) or 'none'}; unknown fields: {', '.join(unknown) or 'none'}.{hint}"
            ) from None

    def _misfit(self, rows: Any) -> str:
        """Say which container is another than was declared: that of a field, if the row's own is right."""
        declared = self.spec.treedef.unflatten(range(len(self.spec.paths)))
        if type(rows) is type(declared):
            for name in dict.fromkeys(path[0] for path in self.spec.paths if path):
                treedef: Any = jax.tree.structure(field(declared, name))
                try:
                    treedef.flatten_up_to(field(rows, name))
                except (ValueError, TypeError, AttributeError):
                    return f"{name} is a {type(field(rows, name)).__name__}"
        return f"got a {type(rows).__name__}"

    def _flags(self, leaves: list[Any], written: np.ndarray) -> None:
        """Refuse a row that ends the decision process, but not the episode."""
        places = [(name,) for name in ("is_last", "is_terminal")]
        if all(path in self.spec.paths for path in places):
            last, terminal = (np.asarray(leaves[self.spec.paths.index(path)]) for path in places)
            if (
                last.dtype == terminal.dtype == np.bool_
                and last.shape == written.shape
                and (terminal & ~last & written).any()
            ):
                raise StructureError(
                    "is_terminal is True where is_last is False: a terminal row is the last of its episode."
                )

    def _lead(self, leaves: list[Any]) -> tuple[int, ...]:
        """Read the leading axes off the first array; without arrays, off the first list of texts."""
        arrays, lists = [], []
        for path, shape, leaf in zip(self.spec.paths, self.spec.shapes, leaves, strict=True):
            if isinstance(leaf, np.ndarray | np.generic | jax.Array):
                arrays.append((tuple(leaf.shape), len(shape)))
            elif path in self.spec.texts and isinstance(leaf, list | tuple):
                lists.append((_lengths(leaf), len(shape)))
        for got, own in arrays + lists:
            return got[: max(len(got) - own, 0)]
        return ()

    def _accept(self, state: ReplayState, lead: tuple[int, ...], mask: Any) -> None:
        """Let `Replay.add` check the axes and the mask, once for each combination."""
        seen = lead, getattr(mask, "shape", mask is None), getattr(mask, "dtype", None)
        if seen in self._accepted:
            return
        shapes = zip(self.spec.shapes, self.spec.dtypes, strict=True)
        rows = self.spec.treedef.unflatten([jax.ShapeDtypeStruct(lead + shape, dtype) for shape, dtype in shapes])
        with debug_checks(False):  # which are for traced code: here they would raise before anything is wrong
            jax.eval_shape(lambda state, rows: self.replay.add(state, rows, mask), state, rows)
        self._accepted.add(seen)

    def _interned(self, leaves: list[Any], lead: tuple[int, ...], written: np.ndarray) -> list[Any]:
        """Replace texts by their ids: those of all fields are stored in one call, all or none.

        ``written``, bool ``[*lead]``, says for which rows; the others get no text.
        """
        places = [i for i, path in enumerate(self.spec.paths) if path in self.spec.texts]
        given = [i for i in places if not hasattr(leaves[i], "dtype")]
        for i in set(places) - set(given):
            self.table.lookup(np.asarray(leaves[i]))  # raises if the table does not know them
        sizes = [np.prod(lead + self.spec.shapes[i], dtype=int) for i in given]
        kept = [np.broadcast_to(written.reshape(-1, 1), (written.size, size // max(written.size, 1))) for size in sizes]
        flat = [
            text if keep else None
            for i, keeps in zip(given, kept, strict=True)
            for text, keep in zip(_flat(leaves[i]), keeps.ravel(), strict=True)
        ]
        ids = np.split(np.asarray(self.table.intern(flat), np.int32), np.cumsum(sizes)[:-1]) if given else []
        for i, some in zip(given, ids, strict=True):
            leaves[i] = some.reshape(lead + self.spec.shapes[i])
        return leaves


def _lengths(x: Any) -> tuple[int, ...]:
    return (len(x), *(_lengths(x[0]) if x else ())) if isinstance(x, list | tuple) else ()


def _flat(x: Any) -> list[str | None]:
    return [text for y in x for text in _flat(y)] if isinstance(x, list) else [x]
