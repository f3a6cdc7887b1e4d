"""What a row is, in a form that a file can hold and another program can read."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import StoreError
from jaxbuffers.row import Row, RowSpec, TextField


def describe(spec: RowSpec) -> dict[str, Any]:
    """Return a row's description as what JSON can hold: its leaves, and the containers that they are in."""
    leaves = zip(spec.paths, spec.shapes, spec.dtypes, strict=True)
    return {
        "words": str(spec),
        "leaves": [
            {"path": list(path), "dtype": dtype.name, "shape": list(shape), "text": path in spec.texts}
            for path, shape, dtype in leaves
        ],
        "containers": _containers(jax.tree.unflatten(spec.treedef, list(range(len(spec.paths))))),
    }


def restored(description: dict[str, Any], path: str) -> RowSpec:
    """Return the row of a description.

    Raises:
      StoreError: it is made of containers that only the caller can name.
    """
    leaves = [
        TextField(tuple(leaf["shape"]))
        if leaf["text"]
        else jax.ShapeDtypeStruct(tuple(leaf["shape"]), np.dtype(leaf["dtype"]))
        for leaf in description["leaves"]
    ]
    return RowSpec.of(_built(description["containers"], leaves, path))


def require_same(spec: RowSpec, description: dict[str, Any], path: str) -> None:
    """Raise `StoreError` unless a row is the one that was described."""
    ours = describe(spec)
    if ours == description:
        return
    what = "" if ours["words"] != description["words"] else " The leaves are the same, their containers are not."
    raise StoreError(
        f"{path} holds other rows.{what}\n  stored: {description['words']}\n  given:  {ours['words']}\n"
        f"Give row= as it was stored, or start another store."
    )


def _containers(tree: Any) -> Any:
    if isinstance(tree, int):
        return tree
    if type(tree) is dict and all(isinstance(key, str) for key in tree):
        return {"dict": {key: _containers(part) for key, part in tree.items()}}
    if type(tree) is Row:
        return {"Row": {name: _containers(getattr(tree, name)) for name in Row.__dataclass_fields__}}
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_containers(part) for part in tree]}
    if tree is None:
        return {"none": None}
    return {"class": f"{type(tree).__module__}.{type(tree).__qualname__}", "structure": str(jax.tree.structure(tree))}


def _built(containers: Any, leaves: list[Any], path: str) -> Any:
    if isinstance(containers, int):
        return leaves[containers]
    ((kind, parts), *others) = containers.items()
    if kind == "class" or others:
        raise StoreError(f"{path} holds rows made of {parts}: give row=, one row or its description in that class.")
    if kind in ("dict", "Row"):
        fields = {name: _built(part, leaves, path) for name, part in parts.items()}
        return Row(**fields) if kind == "Row" else fields
    if kind == "none":
        return None
    items = [_built(part, leaves, path) for part in parts]
    return tuple(items) if kind == "tuple" else items
