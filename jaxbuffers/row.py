"""Rows: what one environment holds at one time, and the exact checks they must pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.errors import DtypeError, MissingFieldError, ShapeError, StructureError

Path = tuple[str, ...]

_MaskedArray = np.ma.MaskedArray
_ARRAY_OF = {bool: "bool_", int: "int32", float: "float32", complex: "complex64"}


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


@struct.dataclass
class Row:
    """One environment at one time ``t``, in the alignment of dm_env and DreamerV3.

    Any pytree with these top-level names serves as well: a dict, a NamedTuple, a dataclass.

    Attributes:
      obs: any pytree, the observation ``obs_t``.
      action: any pytree, the action taken *at* ``obs_t``; without meaning on a last row.
      reward: float ``[]``, received on *arriving* at ``obs_t``; 0 on a first row.
      is_first: bool ``[]``, True where an episode begins.
      is_last: bool ``[]``, True where an episode ends, for any cause.
      is_terminal: bool ``[]``, True where the decision process itself ended (no bootstrap).
      extras: any pytree: latents, log-probabilities, returns, text ids.
    """

    obs: Any
    action: Any
    reward: Any
    is_first: Any
    is_last: Any
    is_terminal: Any
    extras: Any = ()


@dataclass(frozen=True)
class RowSpec:
    """The structure, shapes and dtypes of one row; a hashable value, kept static in states.

    ``texts`` names the leaves that were marked with ``jb.text``: int32 ids of texts.
    """

    treedef: Any
    paths: tuple[Path, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    texts: tuple[Path, ...] = ()

    @classmethod
    def of(cls, row: Any) -> "RowSpec":
        """Read the specification off one example row of arrays or ``jax.ShapeDtypeStruct``."""
        leaves, treedef = jax.tree_util.tree_flatten_with_path(row)
        if not leaves:
            raise StructureError("The row has no leaves; give init() one row of arrays.")
        paths = tuple(path_names(path) for path, _ in leaves)
        shapes = tuple(_shape(path, leaf) for path, (_, leaf) in zip(paths, leaves, strict=True))
        dtypes = tuple(_dtype(path, leaf) for path, (_, leaf) in zip(paths, leaves, strict=True))
        if len(set(paths)) < len(paths):
            twice = next(path for i, path in enumerate(paths) if path in paths[:i])
            raise StructureError(f"Two leaves of the row are both called {show(twice)}; rename one.")
        for path, shape in zip(paths, shapes, strict=True):
            if 0 in shape:
                raise ShapeError(f"{show(path)} has shape {shape}: an axis of size 0 cannot be stored.")
        texts = tuple(path for path, (_, leaf) in zip(paths, leaves, strict=True) if isinstance(leaf, TextField))
        return cls(treedef, paths, shapes, dtypes, texts)

    def __str__(self) -> str:
        parts = zip(self.paths, self.dtypes, self.shapes, strict=True)
        return ", ".join(
            f"{'.'.join(path)}: {'text' if path in self.texts else dtype}{list(shape) if shape else ''}"
            for path, dtype, shape in parts
        )

    def require(self, fields: tuple[str, ...], who: str) -> None:
        """Raise `MissingFieldError` unless the row has every field that ``who`` needs."""
        present = {path[0] for path in self.paths if path}
        for field in fields:
            if field not in present:
                raise MissingFieldError(
                    f"{who} needs the field {field!r}, but the row has {sorted(present) or 'no named fields'}. "
                    f"Add it to the row given to init()."
                )

    def require_scalar(self, name: str, kind: type[np.generic], who: str) -> None:
        """Raise unless the field, where the row has it, is one scalar of this kind of dtype."""
        for path, shape, dtype in zip(self.paths, self.shapes, self.dtypes, strict=True):
            if path[:1] == (name,):
                if not jnp.issubdtype(dtype, kind):
                    raise DtypeError(f"{who} needs {name!r} to be {kind.__name__.strip('_')}; {show(path)} is {dtype}.")
                if len(path) > 1 or shape:
                    raise ShapeError(
                        f"{who} needs {name!r} to be a scalar; {show(path)} has shape {shape}. Give init() one row of "
                        f"one environment."
                    )

    def leading(self, rows: Any, what: str = "rows") -> tuple[int, ...]:
        """Check ``rows`` against the specification and return the axes that precede each row's.

        Every leaf must have the same leading axes, the exact trailing shape and the exact dtype.
        """
        leaves, treedef = jax.tree_util.tree_flatten_with_path(rows)
        if treedef != self.treedef:
            raise StructureError(
                f"{what} must have the structure of the row given to init().\n"
                f"  expected: {self.treedef}\n  got:      {treedef}\n{_difference(self.paths, leaves)}"
            )
        first: tuple[tuple[int, ...], Path] | None = None
        for path, shape, dtype, (_, leaf) in zip(self.paths, self.shapes, self.dtypes, leaves, strict=True):
            lead = check_leaf(path, leaf, shape, dtype)
            if first is not None and lead != first[0]:
                raise ShapeError(
                    f"Leaves disagree on their leading axes: {show(first[1])} has {first[0]}, "
                    f"{show(path)} has {lead} before its own shape {shape}."
                )
            first = first or (lead, path)
        assert first is not None
        return first[0]


def row_of(spec: RowSpec) -> Any:
    """Return what describes a row, as it is given to ``init``."""
    leaves = zip(spec.paths, spec.shapes, spec.dtypes, strict=True)
    return jax.tree.unflatten(
        spec.treedef,
        [TextField(s) if path in spec.texts else jax.ShapeDtypeStruct(s, dtype) for path, s, dtype in leaves],
    )


def check_leaf(path: Path, leaf: Any, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """Check one leaf's trailing shape and dtype exactly; return its leading axes."""
    got = _shape(path, leaf)
    lead = got[: len(got) - len(shape)]
    if len(got) < len(shape) or got[len(lead) :] != shape:
        raise ShapeError(
            f"{show(path)} has shape {got}, expected [{', '.join(['...', *map(str, shape)])}]: every row's own axes "
            f"must be {shape}, as in the row given to init(); nothing is broadcast."
        )
    if _dtype(path, leaf, dtype) != dtype:
        raise DtypeError(
            f"{show(path)} has dtype {_dtype(path, leaf)}, expected {dtype}, as in the row given to init(); "
            f"nothing is cast. Convert it first: {path[-1] if path else 'leaf'}.astype('{dtype}')."
        )
    return lead


def dtype_of(name: str, x: Any) -> np.dtype:
    """Return the dtype of an array, or of what stands for one; refuse what JAX cannot hold as it is, by its name."""
    return RowSpec.of({name: x}).dtypes[0]


def paths_of(tree: Any) -> dict[Path, Any]:
    """Map each leaf of a pytree by its path of plain names, whatever the containers are."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_names(path): leaf for path, leaf in leaves}


def field(row: Any, name: str, default: Any = None) -> Any:
    """Return a top-level field of a row: a mapping's item or an object's attribute."""
    if isinstance(row, Mapping):
        return row.get(name, default)
    return getattr(row, name, default)


def with_field(row: Any, name: str, value: Any) -> Any:
    """Return the row with one top-level field replaced."""
    return with_paths(row, {(name, *path): leaf for path, leaf in paths_of(value).items()})


def with_paths(row: Any, new: dict[Path, Any]) -> Any:
    """Return the row with the leaves at some paths replaced."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(row)
    return jax.tree.unflatten(treedef, [new.get(path_names(path), leaf) for path, leaf in leaves])


def show(path: Path) -> str:
    """Write a leaf's path the way a reader would: ``leaf 'obs.image'``."""
    return f"leaf {'.'.join(path)!r}" if path else "the only leaf"


def refuse_masked(what: str, x: Any) -> None:
    """Refuse a masked array: its mask would be lost."""
    if isinstance(x, _MaskedArray):
        raise DtypeError(f"{what} is a masked array, whose mask would be lost. Say what its gaps are: x.filled(value).")


def path_names(path: tuple[Any, ...]) -> Path:
    """Return a path of JAX's as plain names, whatever the containers are."""

    def name(key: Any) -> str:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                return str(getattr(key, attribute))
        return str(key)

    return tuple(name(key) for key in path)


def _shape(path: Path, leaf: Any) -> tuple[int, ...]:
    if isinstance(leaf, type | np.dtype):
        raise DtypeError(f"{show(path)} is a dtype; give jax.ShapeDtypeStruct((), {getattr(leaf, '__name__', leaf)}).")
    if isinstance(leaf, str):
        raise DtypeError(f"{show(path)} is a str. Text is stored as table.intern(text), in a field marked jb.text.")
    if isinstance(leaf, _MaskedArray):
        refuse_masked(show(path), leaf)
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise DtypeError(
            f"{show(path)} is {leaf!r} of type {type(leaf).__name__}, which has no dtype of its own. "
            f"Give an array, for instance numpy.{_ARRAY_OF[type(leaf)]}({leaf!r})."
            if type(leaf) in _ARRAY_OF
            else f"{show(path)} is a {type(leaf).__name__}, not an array. Store text as int32 ids and other "
            f"objects as arrays."
        )
    return tuple(leaf.shape)


def _canonical(dtype: np.dtype) -> np.dtype:
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def _dtype(path: Path, leaf: Any, expected: np.dtype | None = None) -> np.dtype:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise DtypeError(f"{show(path)} is a typed PRNG key. Store jax.random.key_data(key), which is uint32.")
    dtype = np.dtype(leaf.dtype)
    if dtype.kind in "OSUMm" or (dtype.kind == "V" and dtype.names):
        raise DtypeError(f"{show(path)} has dtype {dtype}, which JAX cannot hold. Store text as int32 ids.")
    if not dtype.isnative or dtype.name.startswith("float4"):
        raise DtypeError(f"{show(path)} has dtype {dtype}, which cannot be stored. Convert it to a usual one.")
    if (narrow := _canonical(dtype)) != dtype:
        raise DtypeError(
            f"{show(path)} has dtype {dtype}, which JAX would cut to {narrow} because 64-bit types are off. Convert "
            f"it first: {path[-1] if path else 'leaf'}.astype('{expected or narrow}'); or set jax_enable_x64."
        )
    return dtype


def _difference(paths: tuple[Path, ...], leaves: list[Any]) -> str:
    got, expected = {path_names(path) for path, _ in leaves}, set(paths)
    if got == expected:
        return "  the leaves have the same names, but another container: use the type of the row given to init()"
    missing = ", ".join(sorted(".".join(p) for p in expected - got)) or "none"
    unknown = ", ".join(sorted(".".join(p) for p in got - expected)) or "none"
    return f"  missing leaves: {missing}; unknown leaves: {unknown}"
