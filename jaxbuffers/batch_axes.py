"""Along which axis of each array of a batch the windows lie: what the shapes of two batches say."""

from functools import lru_cache
from typing import NamedTuple

import jax

from jaxbuffers.batch import Batch
from jaxbuffers.errors import StructureError, debug_checks
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec, paths_of, row_of, show
from jaxbuffers.views import View


class Axes(NamedTuple):
    """The axes of the windows in the data and the index of a batch.

    Attributes:
      structure: of the two.
      axes: one for each leaf.
    """

    structure: jax.tree_util.PyTreeDef
    axes: tuple[int, ...]


@lru_cache(maxsize=64)
def axes_of(view: View, spec: RowSpec) -> Axes:
    """Return the axes that a view gives its batches, whatever sizes the other axes have.

    Raises:
      StructureError: an array of the view has no axis, or several, whose size is the number of windows.
    """
    two, three = (_shapes(view, spec, size) for size in (2, 3))
    found = []
    for (path, a), b in zip(paths_of(two).items(), jax.tree.leaves(three), strict=True):
        differing = [i for i, sizes in enumerate(zip(a.shape, b.shape, strict=True)) if sizes == (2, 3)]
        if len(differing) != 1:
            raise StructureError(f"{show(path)} of {view} has no one axis for the windows of a batch: {a.shape}.")
        found.append(differing[0])
    return Axes(jax.tree.structure(two), tuple(found))


@debug_checks(False)
def _shapes(view: View, spec: RowSpec, size: int) -> dict[str, object]:
    replay = Replay(view.span, None, size, view)

    def sample() -> Batch:
        return replay.sample(replay.init(row_of(spec)), jax.random.key(0))

    batch = jax.eval_shape(sample)
    return {"data": batch.data, "index": batch.index}
