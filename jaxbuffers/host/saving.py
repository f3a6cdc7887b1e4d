"""A HostReplay as bytes: its state, its key, and a description that a reader must match."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from jaxbuffers.errors import StructureError
from jaxbuffers.replay import Replay, ReplayState

FORMAT = 1


def pack(replay: Replay, state: ReplayState, key: jax.Array) -> bytes:
    """Return everything but the texts."""
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    words = {"impl": str(jax.random.key_impl(key)), "data": np.asarray(jax.random.key_data(key))}
    return serialization.msgpack_serialize(
        {"format": FORMAT, "replay": _kind(replay, state), "row": str(state.spec), "key": words, "leaves": leaves}
    )


def unpack(replay: Replay, state: ReplayState, data: bytes) -> tuple[ReplayState, jax.Array]:
    """Return a state like ``state`` and a key.

    Raises:
      StructureError: the bytes are no saved replay, or one of another configuration or of other rows.
    """
    try:
        found: dict[str, Any] = serialization.msgpack_restore(data)
        version = found["format"]
    except Exception as error:
        raise StructureError(f"these bytes are no saved replay: {error}.") from error
    if version != FORMAT:
        raise StructureError(
            f"saved in format {version}, this version of jaxbuffers reads {FORMAT}: upgrade jaxbuffers."
        )
    for what, ours in (("replay", _kind(replay, state)), ("row", str(state.spec))):
        if found[what] != ours:
            raise StructureError(f"saved from another {what}.\n  saved: {found[what]}\n  here:  {ours}")
    leaves, treedef = jax.tree.flatten(state)
    saved = [found["leaves"].get(str(i)) for i in range(len(leaves))]
    for a, b in zip(saved, leaves, strict=True):
        if a is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            raise StructureError("the saved state has other arrays: it comes from another version of jaxbuffers.")
    words = found["key"]
    return jax.tree.unflatten(treedef, map(jnp.array, saved)), jax.random.wrap_key_data(
        jnp.asarray(words["data"]), impl=words["impl"]
    )


def _kind(replay: Replay, state: ReplayState) -> str:
    """Write what decides how the arrays of a state are read; the size of a batch, for one, does not."""
    facts = (f"{name}: {text}" for name, text in state.made_by.text.items() if name != "row")
    return f"num_envs: {replay.num_envs}, view: {type(replay.view).__name__}, {', '.join(facts)}"
