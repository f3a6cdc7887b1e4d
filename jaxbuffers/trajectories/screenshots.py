"""Screenshots by what they show: equal contents have one digest, and what cannot be read has none."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import numpy as np

from jaxbuffers.errors import ConfigurationError, StoreError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
GIFS, TIFFS = (b"GIF87a", b"GIF89a"), (b"II*\x00", b"MM\x00*")


class Screenshot(NamedTuple):
    """The bytes of an image file, and what tells them from others."""

    digest: str
    data: bytes


def read(path: str | None, compare: str, folder: str = "") -> Screenshot | None:
    """Return the screenshot in a file; None if there is none, or it is no whole image.

    Args:
      path: of the file, or its ``file://`` address.
      compare: "bytes" for a digest of the file, "pixels" for one of the decoded image.
      folder: where a relative path begins; "" for the working directory.
    """
    if not path:
        return None
    try:
        with open(os.path.join(folder, file_of(path)), "rb") as file:
            data = file.read()
    except (OSError, ValueError):
        return None
    if not whole(data):
        return None
    if compare == "bytes":
        return Screenshot(_digest(data), data)
    try:
        return Screenshot(_pixels_digest(decoded(data, path)), data)
    except StoreError:
        return None


def digests(data: bytes) -> Iterator[str]:
    """Go through the digests that bytes may have been stored with: that of the file, and that of its pixels."""
    yield _digest(data)
    with contextlib.suppress(StoreError, ConfigurationError):
        yield _pixels_digest(decoded(data, ""))


def file_of(path: str) -> str:
    """Return the path that a ``file://`` address names, or the path itself."""
    return unquote(urlparse(path).path) if path.startswith("file://") else os.fspath(path)


def whole(data: bytes) -> bool:
    """Whether bytes are an image file as far as can be told without decoding it.

    PNG exactly; JPEG and GIF by their ends, WebP and BMP by the sizes they name, TIFF by its beginning.
    """
    if data.startswith(PNG):
        return _whole_png(data)
    if data.startswith(JPEG):
        return b"\xff\xd9" in data[-4096:]
    if data.startswith(GIFS):
        return b";" in data[-16:]
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP" and len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"BM"):
        return len(data) >= 26 and len(data) >= int.from_bytes(data[2:6], "little")
    return data.startswith(TIFFS)


def decoded(data: bytes, name: str) -> np.ndarray:
    """Return the pixels of an image file, uint8 ``[H, W, 3]``.

    Raises:
      StoreError: it cannot be decoded.
      ConfigurationError: Pillow is not installed.
    """
    image = pillow()
    try:
        with image.open(BytesIO(data)) as found:
            return np.array(found.convert("RGB"))
    except Exception as error:  # Pillow raises all kinds of errors for broken files
        raise StoreError(f"the image {name} cannot be decoded: {error}.") from error


def pillow() -> Any:
    """Return Pillow's ``Image``."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigurationError("images are decoded by Pillow: pip install 'jaxbuffers[images]'.") from error
    return Image


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=20).hexdigest()


def _pixels_digest(pixels: np.ndarray) -> str:
    return _digest(repr(pixels.shape).encode() + pixels.tobytes())


def _whole_png(data: bytes) -> bool:
    at, view = len(PNG), memoryview(data)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(data) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        if view[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
