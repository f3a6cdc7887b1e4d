"""The texts read last, up to so many bytes."""

from collections import OrderedDict


class Cache:
    """Bytes by id; the one not used for the longest time goes first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._data: OrderedDict[int, bytes] = OrderedDict()

    def get(self, i: int) -> bytes | None:
        """Return the bytes of an id, or None."""
        data = self._data.get(i)
        if data is not None:
            self._data.move_to_end(i)
        return data

    def put(self, i: int, data: bytes) -> None:
        """Hold a text, unless it is larger than the whole cache."""
        self.forget(i)
        if len(data) <= self.limit:
            self._data[i] = data
            self.nbytes += len(data)
        while self.nbytes > self.limit and self._data:
            self.nbytes -= len(self._data.popitem(last=False)[1])
        if not self._data:
            self.nbytes = 0  # Ctrl-C between two steps may have left another

    def forget(self, i: int) -> None:
        """Let go of a text."""
        self.nbytes -= len(self._data.pop(i, b""))
