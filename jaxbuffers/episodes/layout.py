"""How rows lie in a segment: one column a leaf, one after the other, in the safetensors format.

A safetensors file is a length (uint64, little-endian), that many bytes of JSON which name each tensor's dtype, shape
and bytes, and the bytes: https://github.com/huggingface/safetensors. The header is written once, for the full size.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from jaxbuffers.row import RowSpec

PAGE = 4096
_STORE = re.compile(rb'"store": "([0-9a-f]{32})"')
BLOCK = 2**16  # bytes of a column under one checksum, about
_NAMES = {
    "bool": "BOOL",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    **{f"{kind}int{bits}": f"{letter}{bits}" for kind, letter in (("u", "U"), ("", "I")) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (32, 64)},
}


@dataclass(frozen=True)
class Layout:
    """Where the rows of a store lie in each of its segments.

    Attributes:
      spec: what a row is.
      store: the name that the store gave itself, so that no segment of another is taken for one of its own.
    """

    spec: RowSpec
    store: str

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of a row in each leaf."""
        return tuple(
            math.prod(shape) * dtype.itemsize for shape, dtype in zip(self.spec.shapes, self.spec.dtypes, strict=True)
        )

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return sum(self.sizes)

    @cached_property
    def block(self) -> int:
        """Rows that share a checksum in each leaf."""
        return max(1, BLOCK // max(self.sizes))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Leaves as they lie: those of wide types first, so that each begins at a multiple of its width."""
        return tuple(sorted(range(len(self.sizes)), key=lambda i: -self.spec.dtypes[i].itemsize))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each leaf is called in a segment."""
        plain = [".".join(path) or "row" for path in self.spec.paths]
        counts = Counter(["__metadata__", *plain, "__metadata__"])
        taken, found = {name for name in plain if counts[name] == 1}, []
        for i, name in enumerate(plain):
            if counts[name] > 1:
                while name in taken or counts[name] > 1:
                    name = f"{name}#{i}"
                taken.add(name)
            found.append(name)
        return tuple(found)

    def blocks(self, length: Any) -> Any:
        """Return how many blocks some rows make."""
        return -(-length // self.block)

    def owns(self, begin: bytes) -> bool | None:
        """Say by the first bytes of a file whether it is a segment of this store; None if they name no store.

        One that a crash has left while it was made is of this store: it has less of these bytes, or zeros.
        """
        told = json.dumps({"__metadata__": self._told(0)})
        named = told[: told.index(self.store) + len(self.store)].encode()
        if named.startswith(begin[8 : 8 + len(named)].rstrip(b"\0")):
            return True
        found = _STORE.search(begin)
        return found[1].decode() == self.store if found else None

    def header(self, number: int, rows: int) -> bytes:
        """Return the first bytes of a segment of so many rows; its length is a multiple of a page."""
        tensors: dict[str, Any] = {"__metadata__": self._told(number)}
        for leaf, begin in zip(self.order, self._begins(rows), strict=True):
            dtype, shape = self.spec.dtypes[leaf], [rows, *self.spec.shapes[leaf]]
            known = _NAMES.get(dtype.name)
            tensors[self.names[leaf]] = {
                "dtype": known or "U8",
                "shape": shape if known else [*shape, dtype.itemsize],
                "data_offsets": [begin, begin + rows * self.sizes[leaf]],
            }
        text = json.dumps(tensors).encode()
        size = -(-(8 + len(text)) // PAGE) * PAGE
        return (size - 8).to_bytes(8, "little") + text.ljust(size - 8)

    def _told(self, number: int) -> dict[str, str]:
        return {"format": "jaxbuffers.episodes", "version": "1", "store": self.store, "segment": str(number)}

    def columns(self, data: Any, begin: int, rows: int) -> tuple[np.ndarray, ...]:
        """Return the columns in a buffer: for each leaf uint8 ``[rows, size]``."""
        found: dict[int, np.ndarray] = {}
        for leaf, at in zip(self.order, self._begins(rows), strict=True):
            flat = np.frombuffer(data, np.uint8, rows * self.sizes[leaf], begin + at)
            found[leaf] = flat.reshape(rows, self.sizes[leaf])
        return tuple(found[leaf] for leaf in range(len(self.sizes)))

    def places(self, begin: int, rows: int) -> list[int]:
        """Return for each leaf where its column begins in a file whose data begin at ``begin``."""
        at = dict(zip(self.order, self._begins(rows), strict=True))
        return [begin + at[leaf] for leaf in range(len(self.sizes))]

    def _begins(self, rows: int) -> list[int]:
        return list(accumulate((rows * self.sizes[leaf] for leaf in self.order), initial=0))[:-1]
