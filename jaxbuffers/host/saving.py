"""A HostReplay as bytes: its state, its key, and what a reader must match, under a checksum.

The bytes are ``MAGIC``, the version of the format in two bytes, BLAKE2b with 256 bits of all the rest and of these,
and a map in MessagePack.
"""

from hashlib import blake2b
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from jaxbuffers.errors import ConfigurationError, StructureError, UnknownTextError
from jaxbuffers.host.checks import one_key, usable
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.states.ownership import owned
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.live import ids_of

MAGIC = b"\x93jaxbuffers\n"  # no text, and changed by whatever changes the ends of lines
FORMAT = 2
CHECKSUM = 32  # bytes


def pack(replay: Replay, state: ReplayState, key: jax.Array, table: TextTable) -> bytes:
    """Return everything but the texts."""
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    words = {"impl": str(jax.random.key_impl(key)), "data": np.asarray(jax.random.key_data(key))}
    texts = table.fingerprint(ids_of(state)) if state.spec.texts else b""
    body = serialization.msgpack_serialize(
        {"replay": _kind(replay, state), "row": str(state.spec), "key": words, "texts": texts, "leaves": leaves}
    )
    head = MAGIC + FORMAT.to_bytes(2, "big")
    return b"".join((head, _checksum(head, body), body))


def unpack(replay: Replay, state: ReplayState, table: TextTable, data: Any) -> tuple[ReplayState, jax.Array]:
    """Return a state like ``state`` and a key.

    Raises:
      StructureError: the bytes are damaged, are no saved replay, or one of another configuration or of other rows.
      UnknownTextError: the table has other texts, or none, under the ids of the rows.
    """
    found = _opened(data)
    for what, ours in (("replay", _kind(replay, state)), ("row", str(state.spec))):
        if found[what] != ours:
            raise StructureError(f"saved from another {what}.\n  saved: {found[what]}\n  here:  {ours}")
    leaves, treedef = jax.tree.flatten(state)
    saved = [found["leaves"].get(str(i)) for i in range(len(leaves))]
    for a, b in zip(saved, leaves, strict=True):
        if a is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            raise StructureError("the saved state has other arrays: it comes from another version of jaxbuffers.")
    result, words = jax.tree.unflatten(treedef, map(jnp.array, saved)), found["key"]
    if state.spec.texts and table.fingerprint(ids_of(result)) != found["texts"]:
        raise UnknownTextError(
            "the table has other texts under the ids of these rows than when they were saved: it is another table, or "
            "a file from another time, such as one that was copied without the -wal file beside it."
        )
    return result, one_key(jax.random.wrap_key_data(jnp.asarray(words["data"]), impl=words["impl"]))


def adopted(replay: Replay, ours: ReplayState, state: Any) -> ReplayState:
    """Return a state that comes from elsewhere, arrays of NumPy as those of JAX, if it is one of the same replay."""
    if not isinstance(state, ReplayState) or state.spec != ours.spec:
        raise StructureError("the state belongs to a replay of other rows.")
    leaves, treedef = jax.tree.flatten(state)
    leaves = [usable(("state",), leaf) for leaf in leaves]
    replay.count(state)  # raises if it comes from another view or other sizes
    kinds = [(np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves]
    if (treedef, kinds) != (jax.tree.structure(ours), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(ours)]):
        raise ConfigurationError(f"the state comes from another sampler than {replay.sampler}, or other sizes.")
    return owned(state)


def _opened(data: Any) -> dict[str, Any]:
    """Return the map in some bytes, once they are known to be what was written."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise StructureError(f"a saved replay is bytes, as to_bytes() returns them; got a {type(data).__name__}.")
    view = memoryview(data).cast("B")
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise StructureError("these bytes are no saved replay, or the beginning of it is damaged.")
    start = len(MAGIC) + 2
    version = int.from_bytes(view[len(MAGIC) : start], "big")
    if version != FORMAT:
        raise StructureError(f"saved in format {version}, this version of jaxbuffers reads {FORMAT}.")
    body = view[start + CHECKSUM :]
    if _checksum(view[:start], body) != view[start : start + CHECKSUM]:
        raise StructureError("the saved replay is damaged: its checksum does not fit. Go back to an earlier one.")
    return serialization.msgpack_restore(body)  # type: ignore[arg-type]  # any buffer; bytes would copy


def _checksum(head: bytes | memoryview, body: bytes | memoryview) -> bytes:
    total = blake2b(head, digest_size=CHECKSUM)
    total.update(body)
    return total.digest()


def _kind(replay: Replay, state: ReplayState) -> str:
    """Write what decides how the arrays of a state are read; the size of a batch, for one, does not."""
    facts = (f"{name}: {text}" for name, text in state.made_by.text.items() if name != "row")
    return f"num_envs: {replay.num_envs}, view: {type(replay.view).__name__}, {', '.join(facts)}"
