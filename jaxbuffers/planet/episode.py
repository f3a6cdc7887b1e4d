"""Episode: one episode while it grows, in lists, and as rows."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxbuffers.checks import flag
from jaxbuffers.errors import IncompleteError, ShapeError, StructureError
from jaxbuffers.row import Row, RowSpec, field


class Episode:
    """One episode that grows step by step: T + 1 observations, and T of everything else.

    Terminals in the middle are taken as they come: PlaNet's rollouts ignore them, and so the episode ends where it is
    said to, with `terminate`.

    Args:
      observation: the first observation, any pytree of arrays.
      info: what came with it.

    Attributes:
      observation: list of T + 1 pytrees.
      action: list of T pytrees, ``action[t]`` taken at ``observation[t]``.
      reward: list of T, ``reward[t]`` received for ``action[t]``.
      terminal: list of T bools, ``terminal[t]`` said of ``observation[t + 1]``.
      info: for each name the list of what came with the steps; a step without that name adds nothing.
      first_info: what came with the first observation.
      closed: whether `terminate` was called.

    >>> import numpy as np, jaxbuffers as jb
    >>> episode = jb.planet.Episode(np.zeros(2, np.float32))
    >>> for t in range(3):
    ...     episode.append(np.float32(t), np.full(2, t + 1, np.float32), 0.5, t == 2, {"speed": np.float32(t)})
    >>> episode.terminate()
    >>> len(episode), episode.size, episode.info["speed"]
    (4, 3, [np.float32(0.0), np.float32(1.0), np.float32(2.0)])
    """

    _fields = ("observation", "action", "reward", "terminal", "info")

    def __init__(self, observation: Any, *, info: dict[str, Any] | None = None) -> None:
        self._observation_spec = RowSpec.of({"observation": observation})
        self._action_spec: RowSpec | None = None
        self.observation: list[Any] = [_own(observation)]
        self.action: list[Any] = []
        self.reward: list[Any] = []
        self.terminal: list[bool] = []
        self.info: dict[str, list[Any]] = {}
        self.first_info: dict[str, Any] = {name: _copied(value) for name, value in (info or {}).items()}
        self.closed = False

    def __len__(self) -> int:
        """How many observations there are, T + 1: rows, as everywhere in the library."""
        return len(self.observation)

    @property
    def size(self) -> int:
        """How many steps there are, T."""
        return len(self.action)

    def append(
        self, action: Any, observation: Any, reward: Any, terminal: Any, info: dict[str, Any] | None = None
    ) -> None:
        """Add one step; arrays are copied.

        Args:
          action: a pytree, taken at the newest observation; like the actions before.
          observation: a pytree, what it led to; like the observations before.
          reward: a float ``[]``; Python's become float32.
          terminal: a bool ``[]``.
          info: what else came with it, by name.

        Raises:
          StructureError, ShapeError, DtypeError: the step does not look like those before. Nothing is added.
          IncompleteError: the episode was closed.
        """
        if self.closed:
            raise IncompleteError("the episode was closed by terminate(): begin another with its first observation.")
        action_spec = self._action_spec or RowSpec.of({"action": action})
        _like(action_spec, {"action": action}, "action")
        _like(self._observation_spec, {"observation": observation}, "observation")
        reward = np.float32(reward) if type(reward) in (float, int) else np.asarray(reward)[()]
        RowSpec.of({"reward": reward}).require_scalar("reward", np.floating, "an episode")
        if self.reward:
            _like(RowSpec.of({"reward": self.reward[0]}), {"reward": reward}, "reward")
        if (
            isinstance(terminal, np.bool_ | np.ndarray | jax.Array)
            and terminal.dtype == np.bool_
            and not terminal.shape
        ):
            terminal = bool(terminal)
        flag("terminal", terminal)
        more = {name: _copied(value) for name, value in (info or {}).items()}
        self._action_spec = action_spec
        self.action.append(_own(action))
        self.observation.append(_own(observation))
        self.reward.append(reward)
        self.terminal.append(terminal)
        for name, value in more.items():
            self.info.setdefault(name, []).append(value)

    def terminate(self) -> None:
        """Close the episode: it grows no more. Its last observation is the one that came with the last step."""
        self.closed = True

    def rows(self, info: Iterable[str] | None = None) -> Row:
        """Return the episode as T + 1 rows, for `EpisodeStore.add_episode` and `Replay.add`.

        A row says whether the episode is over, and that is the last one alone. ``extras["terminal"]`` has the
        terminals as they came. Infos that came with every observation are in ``extras["info"]``, those that came with
        every step but not with the first observation in ``extras["step_info"]``, which is zero on the first row.

        Args:
          info: the names of the infos to keep; None for all.

        Returns:
          `Row` with leaves ``[T + 1, ...]``. An episode that is not closed has no last row.

        Raises:
          IncompleteError: there is no step yet.
          StructureError: an info is not there at all, or did not come with every step.
        """
        if not self.size:
            raise IncompleteError("the episode has no step yet: rows hold what an action looks like.")
        steps, last = np.arange(len(self)), self.size
        names = [*{**self.first_info, **self.info}] if info is None else list(info)
        extras: dict[str, Any] = {"terminal": np.array([False, *self.terminal])}
        for name in names:
            place, values = self._column(name)
            extras.setdefault(place, {})[name] = _stacked(f"info {name!r}", values)
        actions = _stacked("action", self.action)
        return Row(
            obs=_stacked("observation", self.observation),
            action=jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x[:1])]), actions),
            reward=np.stack([np.zeros_like(self.reward[0]), *self.reward]),
            is_first=steps == 0,
            is_last=(steps == last) & self.closed,
            is_terminal=(steps == last) & self.closed & self.terminal[-1],
            extras=extras,
        )

    @classmethod
    def from_rows(cls, rows: Any) -> "Episode":
        """Return the episode that such rows hold; rows without ``extras["terminal"]`` are terminal where they end so.

        Args:
          rows: leaves ``[T + 1, ...]`` of one episode, from `rows` or from anywhere else, such as ``store[id].rows``.
            What is in ``extras`` besides terminals and infos has no place in an episode, and is left out.
        """
        rows = jax.tree.map(np.asarray, rows)
        extras = field(rows, "extras", ())
        extras = extras if isinstance(extras, dict) else {}
        terminal = extras.get("terminal", field(rows, "is_terminal"))
        full, later = extras.get("info", {}), extras.get("step_info", {})
        count = len(terminal)
        obs, action, reward = (field(rows, name) for name in ("obs", "action", "reward"))
        episode = cls(_at(obs, 0), info={name: _at(column, 0) for name, column in full.items()})
        for t in range(1, count):
            info = {name: _at(column, t) for name, column in {**full, **later}.items()}
            episode.append(_at(action, t - 1), _at(obs, t), reward[t], bool(terminal[t]), info)
        episode.closed = bool(field(rows, "is_last")[-1])
        return episode

    def __repr__(self) -> str:
        return f"Episode({self.size} steps{', closed' if self.closed else ''})"

    def _column(self, name: str) -> tuple[str, list[Any]]:
        """Return where the values of an info go, and one value for each row."""
        values, first = self.info.get(name, []), name in self.first_info
        if not values and not first:
            known = ", ".join(sorted({*self.info, *self.first_info})) or "none"
            raise StructureError(f"the episode has no info {name!r}; it has {known}.")
        if len(values) != self.size:
            raise StructureError(
                f"info {name!r} came with {len(values)} of {self.size} steps, so that it cannot be kept with each row; "
                f"name those to keep: info=[...]."
            )
        if first:
            return "info", [self.first_info[name], *values]
        return "step_info", [jax.tree.map(lambda x: np.zeros_like(np.asarray(x)), _numbers(values[0])), *values]


def _like(spec: RowSpec, tree: Any, name: str) -> None:
    lead = spec.leading(tree, name)
    if lead:
        raise ShapeError(f"{name} has the axes {lead} more than that of the episode's first step: give one step.")


def _own(tree: Any) -> Any:
    """Return a copy, as environments may write to the arrays that they have returned."""
    return jax.tree.map(np.array, tree)


def _copied(tree: Any) -> Any:
    """Return a copy of the arrays of an info, and of nothing else: it may be anything."""
    return jax.tree.map(lambda x: np.array(x) if isinstance(x, np.ndarray) else x, tree)


def _at(tree: Any, t: int) -> Any:
    return jax.tree.map(lambda x: x[t], tree)


def _stacked(what: str, values: list[Any]) -> Any:
    """Put the values of all rows together, as they are."""
    spec = RowSpec.of({what: _numbers(values[0])})
    for value in values:
        spec.leading({what: _numbers(value)}, what)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(_numbers, values))


def _numbers(tree: Any) -> Any:
    """Python's own numbers in the dtypes that they have in JAX."""
    of = {bool: np.bool_, int: np.int32, float: np.float32}
    return jax.tree.map(lambda x: of[type(x)](x) if type(x) in of else x, tree)
