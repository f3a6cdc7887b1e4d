"""How far a store had come, beside its catalog: a catalog that knows less has lost something.

SQLite takes a damaged or missing write-ahead log for one that ends early. So the revision is written to a file of its
own after each commit, without waiting for the disk: it is never ahead of what is durable.
"""

import zlib

from jaxbuffers.episodes import files
from jaxbuffers.errors import DamagedError

SLOT = 16  # bytes: the revision, its CRC-32, and zeros; two of them, written in turn, so that one is always whole
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
                    data = file.read(2 * SLOT)
            except FileNotFoundError:
                return 0
            found = [number for i in (0, SLOT) if (number := _revision(data[i : i + SLOT])) is not None]
            # After a loss of power there may be zeros; after a kill amid the first write, less than a slot.
            if found or len(data) < 2 * SLOT or not data.strip(b"\0"):
                return max(found, default=0)
        raise DamagedError(
            f"{self.path} is damaged: it does not say how many commits the store has seen. If the rest of the store is "
            f"in order, delete this file."
        )

    def write(self, revision: int) -> None:
        """Write the revision of a commit that is durable; where that fails, the file says less than there is."""
        data = revision.to_bytes(8, "little")
        data += zlib.crc32(data).to_bytes(SLOT - 8, "little")
        files.overwrite(self.path, data, revision % 2 * SLOT)

    def compare(self, last: int, revision: int, catalog: str) -> None:
        """Raise `DamagedError` if a catalog is older than the last commit."""
        if last > revision:
            raise DamagedError(
                f"{catalog} is damaged: it has seen {revision} commits, the store {last}. Its log, {catalog}-wal, was "
                f"damaged, or left behind when the store was copied. Bring it back; or delete {self.path} to go on "
                f"without what is lost."
            )


def _revision(slot: bytes) -> int | None:
    whole = len(slot) == SLOT and zlib.crc32(slot[:8]) == int.from_bytes(slot[8:], "little")
    return int.from_bytes(slot[:8], "little") if whole else None
