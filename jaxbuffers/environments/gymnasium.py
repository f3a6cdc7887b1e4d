"""What Gymnasium's vector environments return, in arrays. Needs no Gymnasium."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import ShapeError, StructureError


def final_observations(obs: Any, infos: dict[str, Any]) -> Any:
    """Put the final observations of Gymnasium's ``SAME_STEP`` mode into arrays like ``obs``.

    Gymnasium returns them as an object array with one entry for each environment whose episode
    ended, and only then. Runs on the host.

    Args:
      obs: leaves ``[E, ...]``, NumPy, what ``step`` returned.
      infos: the infos that came with it.

    Returns:
      Like ``obs``: the final observation where an episode ended now, ``obs`` elsewhere; for
      ``final_obs`` of `Recorder.step`.

    Raises:
      ShapeError: a final observation does not look like those in ``obs``.
      StructureError: the infos are those of Gymnasium before 1.0.

    >>> import numpy as np, jaxbuffers as jb
    >>> ended = {"final_obs": np.array([None, np.array([7.0])], dtype=object), "_final_obs": np.array([False, True])}
    >>> jb.final_observations(np.array([[1.0], [0.0]]), ended)
    array([[1.],
           [7.]])
    """
    if "final_observation" in infos:
        raise StructureError(
            "infos has 'final_observation', as Gymnasium before 1.0 returns it; rename it to 'final_obs' and "
            "'_final_observation' to '_final_obs'."
        )
    final = jax.tree.map(np.array, obs)
    for env in np.flatnonzero(infos.get("_final_obs", ())):

        def fill(out: np.ndarray, leaf: Any, env: int = int(env)) -> None:
            leaf = np.asarray(leaf)
            if leaf.shape != out.shape[1:] or leaf.dtype != out.dtype:
                raise ShapeError(
                    f"final_obs of environment {env} is {leaf.dtype}{list(leaf.shape)}, expected "
                    f"{out.dtype}{list(out.shape[1:])} like obs."
                )
            out[env] = leaf

        jax.tree.map(fill, final, infos["final_obs"][env])
    return final
