"""Demonstrations as bytes: those of the buffer, and beside them the steps of the trajectory that is still open."""

from typing import Any

import numpy as np
from flax import serialization

from jaxbuffers.errors import StructureError
from jaxbuffers.host.steps import FEATURES, NUMBERS, TEXTS, Features, Step
from jaxbuffers.texts.coding import decode, digest, encode

FORMAT = 1
_SIZE = len(digest(b""))


def pack(kind: str, buffer: bytes, steps: list[Step]) -> bytes:
    """Return all of it, after a digest of it; ``kind`` describes what a reader must match."""
    saved = {"demonstrations": FORMAT, "kind": kind, "buffer": buffer, "open": [_saved(step) for step in steps]}
    body = serialization.msgpack_serialize(saved)
    return digest(body) + body


def unpack(kind: str, data: bytes, features: Features) -> tuple[bytes, list[Step]]:
    """Return the bytes of the buffer, and the steps.

    Raises:
      StructureError: the bytes are damaged, or were saved from another declaration.
    """
    if digest(data[_SIZE:]) != data[:_SIZE]:
        raise StructureError(
            "these bytes are damaged, or Demonstrations.to_bytes() did not make them; what buffer.to_bytes() made "
            "belongs to buffer.from_bytes()."
        )
    found = serialization.msgpack_restore(data[_SIZE:])
    if (version := found["demonstrations"]) != FORMAT:
        raise StructureError(
            f"saved in format {version}, this version of jaxbuffers reads {FORMAT}: upgrade jaxbuffers."
        )
    if found["kind"] != kind:
        raise StructureError(f"saved from other demonstrations.\n  saved: {found['kind']}\n  here:  {kind}")
    return found["buffer"], [_restored(step, features) for step in found["open"]]


def _saved(step: Step) -> dict[str, Any]:
    return {name: encode(x) if name in TEXTS else x if name == "done" else x.tobytes() for name, x in step.items()}


def _restored(step: dict[str, Any], features: Features) -> Step:
    def value(name: str, x: Any) -> Any:
        if name in TEXTS:
            return decode(x)
        if name in FEATURES and features is not None:
            return np.frombuffer(x, features.dtype).reshape(features.shape).copy()
        return np.frombuffer(x, np.float32).reshape(()).copy() if name in NUMBERS else x

    return {name: value(name, x) for name, x in step.items()}
