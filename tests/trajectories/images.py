"""Image files for tests, written without Pillow."""

import struct
import zlib


def png(colour, size=(4, 3), comment=b""):
    """A PNG of one colour, ``size`` width and height; a comment changes the bytes and not the pixels."""
    width, height = size

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(colour) * width for _ in range(height))
    said = chunk(b"tEXt", b"Comment\0" + comment) if comment else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + said + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )
