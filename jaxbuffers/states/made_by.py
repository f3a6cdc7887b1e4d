"""MadeBy: what made a state, so that no other configuration can misread it."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

import jax
import numpy as np
from flax import serialization

from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.row import RowSpec, paths_of, show
from jaxbuffers.states.naming import written

Kind = TypeVar("Kind", bound=type)
Text = dict[str, str]
_FIELD = "made_by"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MadeBy:
    """Facts about the configuration that made a state: a hashable value, static in states.

    A jitted function hashes and compares it at every call, so its hash is computed once, and it is compared by
    identity first.

    Attributes:
      facts: pairs of a name and a hashable value.
    """

    facts: tuple[tuple[str, Any], ...]

    def __getitem__(self, name: str) -> Any:
        return self._by_name[name]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, MadeBy) and hash(self) == hash(other) and self.facts == other.facts

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return MadeBy, (self.facts,)  # hashes of strings are others in another process

    def __repr__(self) -> str:
        return f"MadeBy({', '.join(f'{name}: {text}' for name, text in self.text.items())})"

    @cached_property
    def text(self) -> Text:
        """The facts in words, the same in every process."""
        return {name: _fact(value) for name, value in self.facts}

    def require(self, ours: "MadeBy", whose: str, **words: str) -> None:
        """Raise unless this is what ``whose`` configuration makes.

        Args:
          ours: the facts of the configuration that is about to use the state.
          whose: the configuration, such as ``"this replay"``.
          **words: for facts of ours that can be said better.
        """
        if self == ours:
            return
        lines = differences(self.text, ours.text, "the state", whose, words)
        again = "two functions of one name; define it once, at the top of a module"
        lines = lines or [f"{name}: {again}" for name, value in self.facts if value != ours._by_name.get(name)]
        raise ConfigurationError(f"The state comes from another configuration: {'; '.join(lines)}. {_REMEDY}")

    @cached_property
    def _hash(self) -> int:
        return hash(self.facts)

    @cached_property
    def _by_name(self) -> dict[str, Any]:
        return dict(self.facts)


_REMEDY = "Use the one that made it, or begin with init()."


def saved_with_maker(kind: Kind) -> Kind:
    """Decorate a state with a static field ``made_by``: flax's state dictionaries then carry it, and are checked.

    ``flax.serialization`` takes static fields from the target and looks at no shape, so that a checkpoint is
    restored into whatever the program has become. With this the dictionary has an entry ``made_by``, the facts in
    words as a uint8 array, and restoring raises, naming what differs:

    * `ConfigurationError`: another configuration made the state.
    * `StructureError`, `ShapeError`, `DtypeError`: a leaf is missing, or has another shape or dtype.
    """
    names = [each.name for each in dataclasses.fields(kind) if each.metadata.get("pytree_node", True)]

    def to_dict(state: Any) -> dict[str, Any]:
        words = json.dumps(state.made_by.text).encode()
        saved = {name: serialization.to_state_dict(getattr(state, name)) for name in names}
        return saved | {_FIELD: np.frombuffer(words, np.uint8)}

    def from_dict(state: Any, saved: Mapping[str, Any]) -> Any:
        if missing := [name for name in (*names, _FIELD) if name not in saved]:
            raise StructureError(f"this is no saved {kind.__name__}: it has no {', '.join(map(repr, missing))}.")
        if unknown := sorted(saved.keys() - {*names, _FIELD}):
            raise StructureError(f"the saved {kind.__name__} has more: {', '.join(map(repr, unknown))}.")
        if lines := differences(_words(saved[_FIELD]), state.made_by.text, "the saved state", "the target", {}):
            raise ConfigurationError(f"The saved state comes from another configuration: {'; '.join(lines)}.")
        new = {name: serialization.from_state_dict(getattr(state, name), saved[name], name=name) for name in names}
        _check_alike(new, {name: getattr(state, name) for name in names})
        return state.replace(**new)

    serialization.register_serialization_state(kind, to_dict, from_dict, override=True)
    return kind


def _words(saved: Any) -> Text:
    try:
        return dict(json.loads(np.asarray(saved, np.uint8).tobytes()))
    except (TypeError, ValueError) as error:
        raise StructureError(f"the saved state does not say what made it: {error}.") from error


def _check_alike(new: dict[str, Any], held: dict[str, Any]) -> None:
    structure: Callable[[Any], Any] = jax.tree.structure
    if structure(new) != structure(held):
        raise StructureError(f"the saved state has the leaves {structure(new)}, the target {structure(held)}.")
    for (path, ours), leaf in zip(paths_of(held).items(), jax.tree.leaves(new), strict=True):
        if np.shape(leaf) != ours.shape:
            raise ShapeError(f"the saved state has {show(path)} of shape {np.shape(leaf)}, the target {ours.shape}.")
        if getattr(leaf, "dtype", None) != ours.dtype:
            got = getattr(leaf, "dtype", type(leaf).__name__)
            raise DtypeError(f"the saved state has {show(path)} of dtype {got}, the target {ours.dtype}.")


def differences(found: Text, ours: Text, one: str, other: str, words: Mapping[str, str]) -> list[str]:
    """Say which facts of ``one`` and the ``other`` differ; ``words`` are better ones for the other's."""
    return [
        f"{name}: {one} has {found.get(name, 'none')}, {other} has {words.get(name, ours.get(name, 'none'))}"
        for name in (*found, *(ours.keys() - found.keys()))
        if found.get(name) != ours.get(name)
    ]


def _fact(value: Any) -> str:
    """Write a fact; ``(name, *parts)`` is something made of parts, None is what remembers nothing."""
    if value is None:
        return "one that remembers nothing"
    if isinstance(value, str | Fraction | RowSpec):
        return str(value)
    if isinstance(value, tuple):
        return f"{value[0]}({', '.join(map(_fact, value[1:]))})"
    return written(value)
