"""Texts as bytes, and the digest that identifies a text on every host."""

import zlib
from hashlib import blake2b


def encode(text: str) -> bytes:
    """Return the UTF-8 of any Python string; half a surrogate pair keeps the three bytes it would have."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Undo `encode`."""
    return data.decode("utf-8", "surrogatepass")


def digest(data: bytes) -> bytes:
    """Return BLAKE2b with 128 bits (RFC 7693, 2015)."""
    return blake2b(data, digest_size=16).digest()


def squeeze(data: bytes, compress: bool) -> bytes:
    """Return the bytes to keep."""
    return zlib.compress(data, 1) if compress else data


def unsqueeze(data: bytes, compress: bool) -> bytes:
    """Undo `squeeze`."""
    return zlib.decompress(data) if compress else data


def checked(kept: bytes, key: bytes, compressed: bool) -> bytes | None:
    """Return a text as it was before it was kept; None if it does not have the digest that it had then."""
    try:
        data = unsqueeze(kept, compressed)
    except zlib.error:
        return None
    return data if digest(data) == key else None
