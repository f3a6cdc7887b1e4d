"""Minari's data sets, out."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxbuffers.datasets.imported import needed
from jaxbuffers.datasets.spaces import check_space
from jaxbuffers.episodes.episode import StoredEpisode
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.where import chosen
from jaxbuffers.errors import ConfigurationError, MissingFieldError, StructureError
from jaxbuffers.row import field, paths_of, with_paths

AT_ONCE = 64  # episodes that are handed to Minari together


def to_minari(
    store: EpisodeStore,
    dataset_id: str,
    *,
    observation_space: Any = None,
    action_space: Any = None,
    infos: Sequence[str] = (),
    where: Any = None,
    **more: Any,
) -> Any:
    """Write episodes as a data set of Minari; needs the extra ``minari``.

    Images are written as they are, without JPEG. The column ``seed``, where there is one, becomes Minari's.

    Args:
      store: with rows that have ``obs``, ``action``, ``reward``, ``is_last`` and ``is_terminal``, such as `Row`.
      dataset_id: its name for Minari, such as ``"pendulum/medium-v0"``.
      observation_space: of Gymnasium; None where ``env`` is given.
      action_space: likewise.
      infos: top-level names of ``extras`` to write as infos.
      where: which episodes; see `EpisodeStore.episodes`.
      **more: for ``minari.create_dataset_from_buffers``, such as ``env``, ``author`` and ``description``.

    Returns:
      The ``minari.MinariDataset``.

    Raises:
      StructureError: an episode has no step, or there is no episode. Nothing is written.
      MissingFieldError: the rows lack a field. Nothing is written.
      ConfigurationError: a space is missing, and there is no ``env`` that has it. Nothing is written.
      StructureError, ShapeError, DtypeError: the rows are not as the spaces say. Nothing is written.
    """
    minari = needed("minari", "minari")
    given = {
        name: space
        for name, space in (("observation_space", observation_space), ("action_space", action_space))
        if space is not None
    }
    if len(given) < 2 and more.get("env") is None:
        raise ConfigurationError(
            "Minari needs both spaces, and a store does not know them: give observation_space= and action_space=, "
            "or env= for an environment that has them."
        )
    table = store.table()
    at = chosen(table, where)
    if short := table["id"][at][table["length"][at] < 2].tolist():
        raise StructureError(f"episode {short[0]} has one row and no step: leave it out with where=.")
    if store.spec is not None:
        store.spec.require(("obs", "action", "reward", "is_terminal"), "Minari")
        for name, space in (("obs", observation_space), ("action", action_space)):
            if space is not None:
                check_space(store.spec, name, space)
    buffers: list[Any] = []
    made = None

    def write() -> Any:
        if made is not None:
            made.update_dataset_from_buffer(buffers)
            return made
        return minari.create_dataset_from_buffers(
            dataset_id=dataset_id, buffer=buffers, jpeg_encoding=False, **given, **more
        )

    for episode in store.episodes(where):
        buffers.append(_buffer(store, episode, infos))
        if len(buffers) == AT_ONCE:
            made, buffers = write(), []
    if not buffers and made is None:
        raise StructureError("there is no episode to write.")
    return write() if buffers else made


def _buffer(store: EpisodeStore, episode: StoredEpisode, infos: Sequence[str]) -> Any:
    """Return an episode as Minari takes it."""
    minari = needed("minari.data_collector", "minari")
    spec, rows, steps = store.spec, episode.rows, len(episode) - 1
    assert spec is not None
    decoded = {path: store.texts.lookup(leaf) for path, leaf in paths_of(rows).items() if path in spec.texts}
    rows = with_paths(rows, decoded)
    extras = field(rows, "extras", ())
    for name in infos:
        if not isinstance(extras, dict) or name not in extras:
            raise MissingFieldError(f"the rows have no extras {name!r} to write as an info.")
    ends = np.arange(steps) == steps - 1
    terminated = bool(field(rows, "is_terminal")[-1])
    return minari.EpisodeBuffer(
        seed=episode.metadata.get("seed"),
        observations=field(rows, "obs"),
        actions=_each_leaf(lambda x: x[:-1], field(rows, "action")),
        rewards=field(rows, "reward")[1:],
        terminations=ends & terminated,
        truncations=ends & (not terminated),
        infos={name: extras[name] for name in infos},
    )


def _each_leaf(function: Any, tree: Any) -> Any:
    """Map over arrays and lists of texts."""
    return jax.tree.map(function, tree, is_leaf=lambda x: isinstance(x, list))
