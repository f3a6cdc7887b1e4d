"""Flat arrays of steps, one episode after another, in the manner of D4RL and OGBench."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from jaxbuffers.checks import flag, number, one_of
from jaxbuffers.datasets.flat_episode import breaks_in, rows_of, rows_of_steps
from jaxbuffers.datasets.flat_files import Arrays, open_arrays
from jaxbuffers.datasets.imported import Imported, Pair, wide_dtype
from jaxbuffers.errors import ConfigurationError, DtypeError, MissingFieldError, ShapeError
from jaxbuffers.row import Row, RowSpec, paths_of, refuse_masked

Layout = Literal["steps", "rows"]
Breaks = Literal["refuse", "truncate"]
NEEDED = ("observations", "actions", "rewards", "terminals")


def from_arrays(
    source: str | os.PathLike | Mapping[str, Any],
    *,
    layout: Layout = "steps",
    breaks: Breaks = "refuse",
    narrow: bool = False,
    rewards: float | None = None,
    extras: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> Imported:
    """Read flat arrays ``[N, ...]``: ``observations``, ``actions``, ``rewards``, ``terminals`` and maybe more.

    With ``layout="steps"``, D4RL's (Fu et al. 2020), an entry is a step: ``rewards[i]`` and ``terminals[i]`` follow on
    ``actions[i]``, which was taken at ``observations[i]``. ``timeouts[i]`` says that the episode was cut after it, and
    so is one that the arrays end in. ``next_observations``, where there are any, have the final observation. Where
    there are none it is not known: a terminated episode gets its last row, with the observation before in place of the
    final one, harmless because nothing is bootstrapped from it; a truncated one ends with the last observation that is
    known, so that its last step is no transition. The column ``final_observation`` says of each episode which it is.

    With ``layout="rows"``, that of OGBench's files (Park et al. 2025), an entry is an observation, the final one
    included: ``terminals`` says where trajectories end, for any cause, and the action there has no meaning. They are
    truncated; terminated if there are ``masks`` and the last one is 0.

    Args:
      source: an ``.npz`` or ``.hdf5`` file (extra ``minari``), or a mapping of arrays, observations and actions being
        any pytrees of such.
      layout: what an entry is.
      breaks: what to do where ``next_observations[i]`` is not ``observations[i + 1]`` within an episode, as in files
        without ``timeouts``: refuse, or take it for an end by truncation.
      narrow: whether 64-bit types become 32-bit ones.
      rewards: the reward of every step, for a source that has none; one that has some is refused.
      extras: names of further arrays ``[N, ...]`` to keep in ``extras``, each with the observation of its entry; zero
        on a last row that ``layout="steps"`` adds. What is not named is not read.
      names: what arrays that are read are called in the source, where it is something else, such as
        ``dict(terminals="dones")``.

    Returns:
      `Imported`, whose episodes have the column ``final_observation``, and `Row` rows.

    Raises:
      MissingFieldError, ShapeError, DtypeError, StructureError: the source is not like that; the array is named.
      ConfigurationError: an option is none, or ``names`` speaks of an array that is not read.
    """
    one_of("layout", layout, ("steps", "rows"))
    one_of("breaks", breaks, ("refuse", "truncate"))
    flag("narrow", narrow)
    arrays = open_arrays(source)
    optional = ("timeouts", "next_observations") if layout == "steps" else ("masks",)
    called = _called(arrays, dict(names or {}), (*NEEDED, *optional, *extras))
    wanted = [name for name in NEEDED if name != "rewards" or rewards is None]
    for name in (*wanted, *extras):
        if name not in called:
            raise MissingFieldError(f"there is no array {name!r}; there are {', '.join(sorted(arrays))}.")
    used = {name: _on_host(name, arrays[called[name]]) for name in (*wanted, *extras, *optional) if name in called}
    count = _length(used)
    if rewards is not None:
        if "rewards" in called:
            raise ConfigurationError("the source has 'rewards': leave out rewards=.")
        most = float(np.finfo(np.float32).max)
        used["rewards"] = np.full(count, number("rewards", rewards, -most, most), np.float32)
    elif used["rewards"].shape != (count,) or used["rewards"].dtype.kind != "f":
        got = f"{used['rewards'].dtype}{list(used['rewards'].shape)}"
        raise DtypeError(f"'rewards' must be floats [{count}], got {got}.")
    flags = {name: _flags(name, used[name]) for name in ("terminals", "timeouts", "masks") if name in used}
    bounds = _bounds(flags["terminals"] | flags.get("timeouts", np.zeros(count, np.bool_)))

    row = _row(used, extras, narrow)
    if breaks == "truncate":
        bounds = [each for first, last in bounds for each in _divided(first, last, breaks_in(used, first, last))]

    def episodes() -> Iterator[Pair]:
        for first, last in bounds:
            if layout == "rows":
                terminated = "masks" in flags and not flags["masks"][last]
                yield rows_of(used, first, last, terminated, tuple(extras), narrow)
            else:
                yield rows_of_steps(used, first, last, bool(flags["terminals"][last]), tuple(extras), narrow)

    return Imported(row, len(bounds), episodes)


def _called(arrays: Arrays, names: dict[str, str], read: tuple[str, ...]) -> dict[str, str]:
    """Return what arrays are called in the source, by the names that they have here."""
    for ours, theirs in names.items():
        if ours not in read:
            raise ConfigurationError(f"names= speaks of {ours!r}, which is not read; that is {', '.join(read)}.")
        if theirs not in arrays:
            raise MissingFieldError(
                f"there is no array {theirs!r} for {ours!r}; there are {', '.join(sorted(arrays))}."
            )
    return {name: name for name in arrays if name not in names.values()} | names


def _on_host(name: str, tree: Any) -> Any:
    for leaf in jax.tree.leaves(tree):
        refuse_masked(repr(name), leaf)
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, tree)


def _length(used: dict[str, Any]) -> int:
    sizes = {}
    for name, tree in used.items():
        for path, leaf in paths_of(tree).items():
            whole = ".".join((name, *path))
            if not getattr(leaf, "shape", ()):
                raise ShapeError(f"{whole!r} must be an array [N, ...], got {leaf!r}.")
            sizes[whole] = leaf.shape[0]
    count = sizes["terminals"]
    for name, size in sizes.items():
        if size != count:
            raise ShapeError(f"{name!r} has {size} entries, 'terminals' has {count}: they must be equally long.")
    if not count:
        raise ShapeError("'terminals' is empty: there is no episode.")
    return count


def _flags(name: str, array: Any) -> np.ndarray:
    """Return flags as bools; D4RL and OGBench write them as bools, integers or floats."""
    values = np.asarray(array[:])
    if values.ndim != 1:
        raise ShapeError(f"{name!r} must have the shape [N], got {list(values.shape)}.")
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DtypeError(f"{name!r} must be bools, or numbers that are 0 or 1, got {values.dtype}.")
    return values.astype(np.bool_)


def _bounds(ends: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and the last entry of each episode."""
    last = np.flatnonzero(ends).tolist()
    if not last or last[-1] != len(ends) - 1:
        last.append(len(ends) - 1)
    return list(zip([0, *(at + 1 for at in last[:-1])], last, strict=True))


def _divided(first: int, last: int, broken: list[int]) -> list[tuple[int, int]]:
    return list(zip([first, *(at + 1 for at in broken)], [*broken, last], strict=True))


def _row(used: dict[str, Any], extras: Sequence[str], narrow: bool) -> Row:
    def leaf(name: str) -> Any:
        found = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], wide_dtype(x.dtype, name, narrow)), used[name])
        RowSpec.of({name: found})  # raises where JAX cannot hold it
        return found

    flagged = jax.ShapeDtypeStruct((), np.bool_)
    return Row(
        obs=leaf("observations"),
        action=leaf("actions"),
        reward=leaf("rewards"),
        is_first=flagged,
        is_last=flagged,
        is_terminal=flagged,
        extras={name: leaf(name) for name in extras} if extras else (),
    )
