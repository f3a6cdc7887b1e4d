"""What is measured: a ring of one side, full, and the steps that are made with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Case:
    """One step that is timed.

    Attributes:
      verb: what it does, in words.
      step: from the state and a key to the state and the outputs.
      moved: the bytes that it must read and write at the very least; 0 if nobody can say.
      changes: whether the state that it returns is another one, and the state that it gets is donated.
      steps: iterations of one timed loop.
      goal: the share of the copy bandwidth aimed at, or None.
      makes: elements of the largest array that it makes on its way, besides its outputs.
    """

    verb: str
    step: Callable[[Any, jax.Array], tuple[Any, Any]]
    moved: int
    changes: bool
    steps: int = 200
    goal: float | None = None
    makes: int = 0


@dataclass(frozen=True)
class Side:
    """One side's ring, and what is done with it.

    Attributes:
      name: whose it is.
      rows: the rows it holds.
      init: makes an empty state.
      fill: makes it full; compiled, donated.
      cases: by the order in which they are measured; cases of the same verb on another side are its peers.
      check: raises if a full state does not hold what was added; compiled by itself.
    """

    name: str
    rows: int
    init: Callable[[], Any]
    fill: Callable[[Any], Any]
    cases: tuple[Case, ...]
    check: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Group:
    """Sides that are measured together, in turns: one ring size of one kind.

    Attributes:
      kind: such as ``uniform``.
      rows: the rows in each ring.
      sides: ours first.
      note: what the reader must know of the whole group, such as a peer that is not there.
    """

    kind: str
    rows: int
    sides: tuple[Side, ...]
    note: str = ""


def nbytes(tree: Any) -> int:
    """Count the bytes of arrays or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if not _is_key(leaf))


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))
