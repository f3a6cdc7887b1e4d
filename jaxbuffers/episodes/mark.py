"""How far a store had come, beside its catalog: a catalog that knows less has lost something.

SQLite takes a damaged or missing write-ahead log for one that ends early. So the revision is written to a file of its
own after each commit, without waiting for the disk: it is never ahead of what is durable.
"""

import zlib

from jaxbuffers.episodes import files
from jaxbuffers.errors import DamagedError

SIZE = 12
TRIES = 3


class Mark:
    """The file.

    Args:
      path: where it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> int:
        """Return the revision of the last commit, as far as it is known; 0 if nothing is.

        Raises:
          DamagedError: the file is damaged.
        """
        for _ in range(TRIES):  # it may be written just now
            try:
                with open(self.path, "rb") as file:
                    data = file.read(SIZE + 1)
            except FileNotFoundError:
                return 0
            if not data.strip(b"\0"):  # as it may be after a loss of power
                return 0
            if len(data) == SIZE and zlib.crc32(data[:8]) == int.from_bytes(data[8:], "little"):
                return int.from_bytes(data[:8], "little")
        raise DamagedError(
            f"{self.path} is damaged: it does not say how many commits the store has seen. If the rest of the store is "
            f"in order, delete this file."
        )

    def write(self, revision: int) -> None:
        """Write the revision of a commit that is durable; where that fails, the file says less than there is."""
        data = revision.to_bytes(8, "little")
        files.overwrite(self.path, data + zlib.crc32(data).to_bytes(4, "little"))

    def compare(self, last: int, revision: int, catalog: str) -> None:
        """Raise `DamagedError` if a catalog is older than the last commit."""
        if last > revision:
            raise DamagedError(
                f"{catalog} is damaged: it has seen {revision} commits, the store {last}. Its log, {catalog}-wal, was "
                f"damaged, or left behind when the store was copied. Bring it back; or delete {self.path} to go on "
                f"without what is lost."
            )
