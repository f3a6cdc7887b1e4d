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
from jaxbuffers.episodes.window_ring import Fetched, WindowReader, WindowRing, WindowRingState
from jaxbuffers.errors import ConfigurationError, debug_checks
from jaxbuffers.row import RowSpec
from jaxbuffers.views import View, WrappingView
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.episode_bounds import Bounded
from jaxbuffers.windows.legal import Legal

Fetch = Callable[[np.ndarray, np.ndarray, int], Any]


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
      fetch: reads rows ``[B, L, ...]``, from ids ``[B]``, starts ``[B]`` and L; arrays that nobody writes to.
      spec: what a row is.
      view: how to read them.
      draw: which windows; each inside its episode.
      key: for what the view leaves to chance; consumed.

    Returns:
      `Batch`, whose index has the ids of the episodes as streams and the rows' places in them as times.
    """
    # 1. Which other rows does the view look at? The first program says so, without any rows.
    place = _place(draw)
    far_time = np.zeros((len(draw.start), 0), np.int32)
    if _says_elsewhere(view):
        far_time = np.asarray(_elsewhere(view, spec)(place, key))
    # 2. Fetch those around the windows, and the others.
    rows = _fetch(fetch, spec, draw, view.before, view.before + view.after)
    far = _fetch_single(fetch, spec, draw, far_time)
    # 3. Read them as if they were a replay's. The arrays are new and nobody writes to them, so they may be shared.
    rows, far = jax.device_put((rows, far), may_alias=True)
    return _reading(view, spec)(rows, far, far_time, place, draw.episode.astype(np.int32), key)


def _place(draw: WindowDraw) -> dict[str, np.ndarray]:
    return {
        "start": draw.start.astype(np.int32),
        "length": draw.length.astype(np.int32),
        "probability": draw.probability,
    }


def _fetch(fetch: Fetch, spec: RowSpec, draw: WindowDraw, before: int, count: int) -> Any:
    """Read ``count`` rows from ``before`` each window's start on: ``[B, count, ...]``, zero where there are none."""
    begin = draw.start - before
    first, end = np.maximum(begin, 0), np.minimum(begin + count, draw.length)
    if np.all(end - first == count):
        return fetch(draw.episode, first, count)
    rows = _zeros(spec, (len(begin), count))
    for number in np.unique(end - first):
        some = np.flatnonzero(end - first == number)
        part = fetch(draw.episode[some], first[some], int(number))
        column = (first - begin)[some][:, None] + np.arange(number)
        for whole, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(part), strict=True):
            whole[some[:, None], column] = leaf
    return rows


def _fetch_single(fetch: Fetch, spec: RowSpec, draw: WindowDraw, time: np.ndarray) -> Any:
    """Read single rows of the drawn episodes at ``time`` ``[B, X]``, zero where that is -1."""
    rows = _zeros(spec, time.shape)
    window, column = np.nonzero(time >= 0)
    if len(window):
        part = fetch(draw.episode[window], time[window, column].astype(np.int64), 1)
        for whole, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(part), strict=True):
            whole[window, column] = leaf[:, 0]
    return rows


def _zeros(spec: RowSpec, lead: tuple[int, ...]) -> Any:
    pairs = zip(spec.shapes, spec.dtypes, strict=True)
    return spec.treedef.unflatten([np.zeros(lead + shape, dtype) for shape, dtype in pairs])


def _says_elsewhere(view: View) -> bool:
    if isinstance(view, WrappingView) and type(view).elsewhere is WrappingView.elsewhere:
        return _says_elsewhere(view.view)
    return type(view).elsewhere is not View.elsewhere


@lru_cache(maxsize=64)
def _elsewhere(view: View, spec: RowSpec) -> Callable[..., Any]:
    """Compile the choice of rows elsewhere: int32 ``[B, X]``, their times."""

    @debug_checks(False)
    def choose(place: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        none = spec.treedef.unflatten([jnp.zeros((len(place["start"]), 0)) for _ in spec.shapes])
        reader = _reader(view, spec, none, none, jnp.zeros((len(place["start"]), 0), jnp.int32), place, key)
        found = view.elsewhere(reader)
        return jnp.stack([index.time for index in found], axis=1)

    return jax.jit(choose)


@lru_cache(maxsize=64)
def _reading(view: View, spec: RowSpec) -> Callable[..., Any]:
    """Compile the reading of windows that have been fetched."""

    @debug_checks(False)
    def reading(
        rows: Any, far: Any, far_time: jax.Array, place: dict[str, jax.Array], episode: jax.Array, key: jax.Array
    ) -> Batch:
        reader = _reader(view, spec, rows, far, far_time, place, key)
        data, index = view.read(reader)
        index = Index(episode[index.stream], index.time)
        return Batch(data=data, index=index, probability=place["probability"], valid=jnp.ones((), jnp.bool_))

    return forwarding(reading)


def _reader(
    view: View, spec: RowSpec, rows: Any, far: Any, far_time: jax.Array, place: dict[str, jax.Array], key: jax.Array
) -> WindowReader:
    size = len(place["start"])
    windows = windows_of(view, spec)
    ring = WindowRingState(
        words=None,
        blocks=(),
        time=place["length"],
        size=place["length"],
        rows=rows,
        begin=place["start"] - view.before,
        far=far,
        far_time=far_time,
    )
    kind = Fetched(WindowRing.of(spec, size), windows.required, windows.history)
    draw = Draw(
        stream=jnp.arange(size, dtype=jnp.int32),
        start=place["start"],
        probability=place["probability"],
        valid=jnp.ones(size, jnp.bool_),
    )
    return WindowReader(Legal(kind, None, ring), draw, key, lead=view.before)
