"""Fields that are pictures, and PNG files of them, with the standard library alone."""

import struct
import zlib

import numpy as np

SMALLEST = 8  # pixels of a side, from which an array is taken for a picture


def is_picture(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether a leaf of a row looks like a picture: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``, C of 1, 3 or 4."""
    if not (dtype == np.uint8 or dtype == np.bool_ or dtype.kind == "f"):
        return False
    if len(shape) == 2:
        return min(shape) >= SMALLEST
    channels_last = len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= SMALLEST
    return channels_last or (len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) >= SMALLEST)


def as_pictures(values: np.ndarray) -> np.ndarray:
    """Return pictures as uint8 ``[n, H, W, 3]``; floats from the least to the greatest, as nobody says their range.

    NaN is as the least; infinities are as the least and the greatest that is finite.
    """
    if values.dtype != np.uint8:
        numbers = values.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)
        numbers = np.clip(np.where(np.isnan(numbers), low, numbers), low, high)
        part = numbers / 2 - low / 2  # halves, as the whole may be more than a float can hold
        values = np.round(part / (high / 2 - low / 2) * 255).astype(np.uint8)
    if values.ndim == 3:
        values = values[..., None]
    elif values.shape[-1] not in (1, 3, 4):
        values = np.moveaxis(values, 1, -1)
    return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values[..., :3]


def png(picture: np.ndarray) -> bytes:
    """Return a PNG file of a picture, uint8 ``[H, W, 3]``."""
    height, width, _ = picture.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, 3 * width)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
