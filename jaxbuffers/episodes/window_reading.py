"""Windows of a store, read by the ordinary views: fetched into a small ring, then one compiled call."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.episodes.forwarding import forwarding
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.episodes.window_ring import Away, Fetched, WindowReader, WindowRing, WindowRingState
from jaxbuffers.errors import ConfigurationError, debug_checks
from jaxbuffers.row import RowSpec
from jaxbuffers.views import View, WrappingView
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.episode_bounds import Bounded
from jaxbuffers.windows.legal import Legal

LARGE = 2**16  # bytes from which an array is handed to JAX by itself, not with the call
Fetch = Callable[..., Any]


def windows_of(view: View, spec: RowSpec) -> Windows:
    """Return what makes a window of the view legal, in episodes that have a stream each."""
    windows: Windows = view.windows(WindowRing.of(spec, 1))
    if isinstance(windows, Bounded) and not _says_elsewhere(view):
        raise ConfigurationError(
            f"{view} knows the bounds of episodes, but not which rows it looks at there: define "
            f"{type(view).__name__}.elsewhere() to read from a store."
        )
    return windows


def read(fetch: Fetch, spec: RowSpec, view: View, draw: WindowDraw, key: jax.Array) -> Batch:
    """Read drawn windows.

    Args:
      fetch: `EpisodeStore.read`.
      spec: what a row is.
      view: how to read them.
      draw: which windows; each inside its episode.
      key: for what the view leaves to chance; consumed.

    Returns:
      `Batch`, whose index has the ids of the episodes as streams and the rows' places in them as times.
    """
    # 1. Which other rows does the view look at? The first program says so, without any rows.
    place, rows_away = _place(draw), None
    if _says_elsewhere(view):
        time = np.asarray(_elsewhere(view, spec)(place, key))
        rows_away = _away(fetch, spec, draw, time)
    # 2. Fetch those around the windows, zeros where the episode has none.
    rows = fetch(draw.episode, draw.start - view.before, view.before + view.after, pad=True)
    # 3. Read them as if they were a replay's. Nobody writes to these arrays, so JAX may have them as they are.
    leaves = dict(enumerate(jax.tree.leaves(rows)))
    large = {i: leaf for i, leaf in leaves.items() if leaf.nbytes >= LARGE}
    small = {i: leaf for i, leaf in leaves.items() if i not in large}
    large = jax.device_put(large)
    return _reading(view, spec)(large, small, rows_away, place, draw.probability, key)


def _place(draw: WindowDraw) -> np.ndarray:
    """Return where the windows are, int32 ``[3, B]``: starts, rows of the episode, its id."""
    place = np.stack([draw.start, draw.length, draw.episode])
    if (place >= 2**31).any():
        raise ConfigurationError("the ids of a store's episodes have reached 2**31: a batch's index cannot hold them.")
    return place.astype(np.int32)


def _away(fetch: Fetch, spec: RowSpec, draw: WindowDraw, time: np.ndarray) -> Away:
    """Read single rows of the drawn episodes at ``time`` ``[B, X]``, zero where that is -1."""
    leaves = zip(spec.shapes, spec.dtypes, strict=True)
    rows = spec.treedef.unflatten([np.zeros(time.shape + shape, dtype) for shape, dtype in leaves])
    window, column = np.nonzero(time >= 0)
    if len(window):
        part = fetch(draw.episode[window], time[window, column].astype(np.int64), 1)
        for whole, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(part), strict=True):
            whole[window, column] = leaf[:, 0]
    return Away(rows, time)  # type: ignore[arg-type]


def _says_elsewhere(view: View) -> bool:
    if isinstance(view, WrappingView) and type(view).elsewhere is WrappingView.elsewhere:
        return _says_elsewhere(view.view)
    return type(view).elsewhere is not View.elsewhere


@lru_cache(maxsize=64)
def _elsewhere(view: View, spec: RowSpec) -> Callable[..., Any]:
    """Compile the choice of rows elsewhere: int32 ``[B, X]``, their times."""

    @debug_checks(False)
    def choose(place: jax.Array, key: jax.Array) -> jax.Array:
        none = spec.treedef.unflatten([jnp.zeros((place.shape[1], 0)) for _ in spec.shapes])
        reader = _reader(view, spec, none, None, place, jnp.ones(place.shape[1], jnp.float32), key)
        return jnp.stack([index.time for index in view.elsewhere(reader)], axis=1)

    return jax.jit(choose)


@lru_cache(maxsize=64)
def _reading(view: View, spec: RowSpec) -> Callable[..., Any]:
    """Compile the reading of windows that have been fetched."""

    @debug_checks(False)
    def reading(
        large: dict[int, jax.Array],
        small: dict[int, jax.Array],
        away: Away | None,
        place: jax.Array,
        probability: jax.Array,
        key: jax.Array,
    ) -> Batch:
        rows = spec.treedef.unflatten([leaf for _, leaf in sorted({**large, **small}.items())])
        reader = _reader(view, spec, rows, away, place, probability, key)
        data, index = view.read(reader)
        index = Index(place[2][index.stream], index.time)
        return Batch(data=data, index=index, probability=probability, valid=jnp.ones((), jnp.bool_))

    return forwarding(reading)


def _reader(
    view: View,
    spec: RowSpec,
    rows: Any,
    away: Away | None,
    place: jax.Array,
    probability: jax.Array,
    key: jax.Array,
) -> WindowReader:
    start, length = place[0], place[1]
    windows = windows_of(view, spec)
    ring = WindowRingState(
        words=None, blocks=(), time=length, size=length, rows=rows, begin=start - view.before, away=away
    )
    kind = Fetched(WindowRing.of(spec, len(start)), windows.required, windows.history)
    stream, valid = jnp.arange(len(start), dtype=jnp.int32), jnp.ones(len(start), jnp.bool_)
    draw = Draw(stream=stream, start=start, probability=probability, valid=valid)
    return WindowReader(Legal(kind, None, ring), draw, key, lead=view.before)
