"""Minari's data sets, in."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxbuffers.checks import flag
from jaxbuffers.datasets.imported import Imported, Pair, narrowed, needed, wide_dtype
from jaxbuffers.datasets.spaces import space_fields
from jaxbuffers.errors import MissingFieldError, ShapeError, StructureError
from jaxbuffers.row import Row, TextField, paths_of


def from_minari(dataset: Any, *, infos: Sequence[str] = (), narrow: bool = False) -> Imported:
    """Read a data set of Minari (Younis et al. 2024); needs the extra ``minari``.

    Minari keeps final observations, and terminations apart from truncations. An episode that says neither at its end
    is truncated: recording stopped there. Images of data sets with ``jpeg_encoding`` are as JPEG has left them.

    Args:
      dataset: a ``minari.MinariDataset``, or the name of one on this machine; nothing is downloaded.
      infos: the names of the infos ``[T + 1, ...]`` to keep in ``extras``; the others are not read.
      narrow: whether 64-bit types, such as that of ``Discrete``, become 32-bit ones.

    Returns:
      `Imported`, with `Row` rows that are as the spaces say, ``jb.text`` for ``Text``; of each episode the columns
      ``minari_episode`` and, where there is one, ``seed``.

    Raises:
      FileNotFoundError: the data set is not on this machine.
      DtypeError: there are 64-bit types, and ``narrow`` is not said.
      MissingFieldError: there is no such info.
      StructureError, ShapeError: an episode is not as Minari says; the array is named.
      ConfigurationError: a space has values of no fixed shape.
    """
    flag("narrow", narrow)
    minari = needed("minari", "minari")
    if isinstance(dataset, str):
        try:
            dataset = minari.load_dataset(dataset)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"there is no data set {dataset!r} on this machine, and nothing is downloaded here: "
                f"see `minari list local` and `minari download`."
            ) from error
    if not len(dataset):
        raise StructureError(f"the data set {dataset.id!r} has no episode.")
    row = _row(dataset, infos, narrow)

    def episodes() -> Iterator[Pair]:
        for number in dataset.episode_indices.tolist():
            episode = next(iter(dataset.iterate_episodes([number])))
            known = next(iter(dataset.storage.get_episode_metadata([number])))
            seed = {"seed": int(known["seed"])} if known.get("seed") is not None else {}
            yield _rows(episode, row, infos, narrow), {"minari_episode": number, **seed}

    return Imported(row, len(dataset), episodes)


def _row(dataset: Any, infos: Sequence[str], narrow: bool) -> Row:
    first = next(iter(dataset.iterate_episodes(dataset.episode_indices[:1].tolist())))
    flagged = jax.ShapeDtypeStruct((), np.bool_)
    extras = {}
    for name in infos:
        if first.infos is None or name not in first.infos:
            known = ", ".join(sorted(first.infos or {})) or "none"
            raise MissingFieldError(f"the data set has no info {name!r}; it has {known}.")
        extras[name] = jax.tree.map(
            lambda x, name=name: jax.ShapeDtypeStruct(x.shape[1:], wide_dtype(x.dtype, name, narrow)), first.infos[name]
        )
    return Row(
        obs=space_fields(dataset.observation_space, narrow=narrow, name="observations"),
        action=space_fields(dataset.action_space, narrow=narrow, name="actions"),
        reward=jax.ShapeDtypeStruct((), wide_dtype(np.asarray(first.rewards).dtype, "rewards", narrow)),
        is_first=flagged,
        is_last=flagged,
        is_terminal=flagged,
        extras=extras or (),
    )


def _rows(episode: Any, row: Row, infos: Sequence[str], narrow: bool) -> Row:
    rewards, count = np.asarray(episode.rewards), len(episode.rewards)
    for name in ("terminations", "truncations"):
        flags = np.asarray(getattr(episode, name))
        if flags.shape != (count,):
            raise ShapeError(f"{name!r} of episode {episode.id} has shape {flags.shape}, expected ({count},).")
        if flags[:-1].any():
            at = int(np.argmax(flags[:-1]))
            raise StructureError(
                f"{name!r} of episode {episode.id} is True at step {at} of {count}: it goes on after it."
            )
    if not count:
        raise StructureError(f"'rewards' of episode {episode.id} is empty: it has no step.")
    extras = {name: (episode.infos or {}).get(name) for name in infos}
    for name, values in extras.items():
        if values is None:
            raise MissingFieldError(f"episode {episode.id} has no info {name!r}.")
    last = np.arange(count + 1) == count
    return Row(
        obs=_leaves("observations", episode.observations, row.obs, count + 1, 0, narrow),
        action=_leaves("actions", episode.actions, row.action, count, 1, narrow),
        reward=np.concatenate([np.zeros(1, row.reward.dtype), narrowed("rewards", rewards, narrow)]),
        is_first=np.arange(count + 1) == 0,
        is_last=last,
        is_terminal=last & bool(episode.terminations[-1]),
        extras=_leaves("infos", extras, row.extras, count + 1, 0, narrow) if extras else (),
    )


def _leaves(what: str, values: Any, described: Any, count: int, add: int, narrow: bool) -> Any:
    """Return the leaves as arrays and lists of texts, with so many zeros, or texts that are none, at the end."""

    def leaf(path: tuple[str, ...], like: Any, value: Any) -> Any:
        name = ".".join((what, *path))
        if len(value) != count:
            raise ShapeError(f"{name!r} has {len(value)} entries, expected {count} for {count - 1 + add} steps.")
        if isinstance(like, TextField):
            return [*value, *[None] * add]
        array = narrowed(name, value, narrow)
        return np.concatenate([array, np.zeros((add, *array.shape[1:]), array.dtype)])

    paths, leaves = list(paths_of(described)), jax.tree.leaves(described)
    treedef: Any = jax.tree.structure(described)
    try:
        given = treedef.flatten_up_to(values)
    except (ValueError, TypeError) as error:
        raise StructureError(f"{what!r} is not nested as its space says: {error}") from error
    return treedef.unflatten([leaf(*each) for each in zip(paths, leaves, given, strict=True)])
