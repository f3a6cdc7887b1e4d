"""A tree, taken apart by the names of its leaves, also of those that hold trees themselves, and put together again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from jaxbuffers.errors import StructureError
from jaxbuffers.row import path_names
from jaxbuffers.states.made_by import MadeBy
from jaxbuffers.texts import TextTable


class Part(NamedTuple):
    """What an object that holds state gives to be saved.

    Attributes:
      tree: a pytree.
      facts: JSON, what is needed to know what ``tree`` looks like.
      table: where its texts are, if it has any.
    """

    tree: Any
    facts: dict[str, Any]
    table: TextTable | None = None


@dataclass(frozen=True)
class Holder:
    """How objects of a class, which are no pytrees, are saved.

    Attributes:
      part: returns what an object holds.
      like: of an object and the facts that were saved, returns what a tree that it can take looks like; raises if it
        cannot take one.
      take: has an object take a tree, which is known to look so; its texts are in its table already.
      section: returns what keeps others from changing an object while it is saved.
    """

    part: Callable[[Any], Part]
    like: Callable[[Any, dict[str, Any]], Any]
    take: Callable[[Any, Any], None]
    section: Callable[[Any], AbstractContextManager[Any]]


_HOLDERS: dict[type, Holder] = {}


def register(kind: type, holder: Holder) -> None:
    """Say how objects of a class are saved, that of classes derived from it too."""
    _HOLDERS[kind] = holder


@contextmanager
def sections(tree: Any) -> Iterator[None]:
    """Keep all objects in a tree that hold state as they are."""
    held = [(holder, leaf) for leaf in jax.tree.leaves(tree) if (holder := holder_of(leaf)) is not None]
    with ExitStack() as stack:
        for holder, leaf in sorted(held, key=lambda each: id(each[1])):  # in one order, whoever else saves them
            stack.enter_context(holder.section(leaf))
        yield


def holder_of(leaf: Any) -> Holder | None:
    """Return how an object is saved; None if it holds no state."""
    return _HOLDERS.get(class_of(leaf))


def class_of(leaf: Any) -> type:
    """Return the class under which an object is saved; its own, if it holds no state."""
    return next((kind for kind in type(leaf).__mro__ if kind in _HOLDERS), type(leaf))


@dataclass
class Node:
    """A tree, taken apart.

    Attributes:
      name: of the tree; of its leaves it is the beginning.
      treedef: its structure.
      leaves: by name.
      parts: objects that hold trees, by name, each with the tree that it gave.
      made_by: what made the states in it, by name.
    """

    name: str
    treedef: Any
    leaves: dict[str, Any]
    parts: dict[str, tuple[Any, "Node"]] = field(default_factory=dict)
    made_by: dict[str, MadeBy] = field(default_factory=dict)

    def nodes(self) -> Iterator["Node"]:
        """Yield it, and those in it."""
        yield self
        for _, node in self.parts.values():
            yield from node.nodes()

    def everything(self) -> dict[str, Any]:
        """Return all leaves that hold no trees, by name."""
        return {name: leaf for node in self.nodes() for name, leaf in node.leaves.items() if name not in node.parts}

    def makers(self) -> dict[str, MadeBy]:
        """Return what made the states, by name."""
        return {name: maker for node in self.nodes() for name, maker in node.made_by.items()}

    def holders(self) -> dict[str, Any]:
        """Return the objects that hold trees, by name."""
        return {name: each for node in self.nodes() for name, (each, _) in node.parts.items()}

    def rebuilt(self, values: dict[str, Any]) -> Any:
        """Return the tree with other leaves; objects that hold trees stay themselves."""
        return jax.tree.unflatten(self.treedef, [values.get(name, leaf) for name, leaf in self.leaves.items()])

    def hand_over(self, values: dict[str, Any]) -> None:
        """Have the objects take what is theirs, those inside of others first."""
        for each, node in self.parts.values():
            node.hand_over(values)
            holder = holder_of(each)
            assert holder is not None
            holder.take(each, node.rebuilt(values))


def apart(tree: Any, inside: Callable[[str, Any], Any], name: str = "") -> Node:
    """Take a tree apart.

    Args:
      tree: a pytree, or an object that holds one.
      inside: of a name and an object that holds a tree, returns that tree.
      name: of the tree.

    Raises:
      StructureError: two leaves have one name, as ``{"a.b": x, "a": {"b": y}}``, be they in one tree or in two.
    """
    node = _apart(tree, inside, name)
    _check_once(each for some in node.nodes() for each in some.leaves)
    _check_once(each for some in node.nodes() for each in some.made_by)
    return node


def _apart(tree: Any, inside: Callable[[str, Any], Any], name: str) -> Node:
    leaves, treedef = jax.tree.flatten(tree)
    names = [_joined(name, path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    _check_once(names)
    node = Node(name, treedef, dict(zip(names, leaves, strict=True)))
    states = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_knows_maker)[0]
    made = [(_joined(name, path), state.made_by) for path, state in states if _knows_maker(state)]
    _check_once(known for known, _ in made)
    node.made_by = dict(made)
    for each, leaf in node.leaves.items():
        if holder_of(leaf) is not None:
            node.parts[each] = leaf, _apart(inside(each, leaf), inside, each)
    return node


def _check_once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise StructureError(f"two leaves are both called {name!r} once names are joined by dots; rename one.")
        seen.add(name)


def _joined(name: str, path: Any) -> str:
    return ".".join((*([name] if name else []), *path_names(path)))


def _knows_maker(x: Any) -> bool:
    return isinstance(getattr(x, "made_by", None), MadeBy)
