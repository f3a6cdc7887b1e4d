"""Rows into a ring and a store at once."""

from typing import Any

from jaxbuffers.errors import ConfigurationError
from jaxbuffers.host.replay import HostReplay


class Tee:
    """What goes to a buffer goes to the writer of a store too, and each episode to its file as soon as it is over.

    A call that raises has written to neither: the rows are checked against the declaration of the buffer first, and
    where the store cannot take them, because the disk is full, the buffer does not get them. Repeat the call then.
    There is one exception: if the device fails, because its memory is full, episodes that ended in that call are
    already durable. They stay, and the error says which.

    Args:
      buffer: the ring.
      writer: ``store.writer(...)``, of a store of the same rows and with as many streams.

    Raises:
      ConfigurationError: rows have texts, and the two do not share one table: their ids would not mean the same.
    """

    def __init__(self, buffer: HostReplay, writer: Any) -> None:
        if not isinstance(buffer, HostReplay):
            raise ConfigurationError(f"buffer must be a jb.HostReplay, got {buffer!r}.")
        texts = getattr(writer, "texts", None)
        if buffer._added.spec.texts and texts is not buffer.table:
            raise ConfigurationError(
                "the rows have texts, and the buffer keeps them in another table than the store: write "
                "jb.HostReplay(replay, fields, table=store.texts)."
            )
        self.buffer, self.writer = buffer, writer

    def add(self, rows: Any, mask: Any = None) -> None:
        """Append rows to both; see `HostReplay.add`."""
        buffer = self.buffer
        with buffer.section():
            arrays, mask, _ = buffer._rows.arrays(buffer._added, rows, mask)  # texts are ids from here on
            before = self.writer.open_rows
            ids = self.writer.add(arrays, mask)
            try:
                buffer.add(arrays, mask)
            except BaseException as error:
                if len(ids):
                    error.add_note(
                        f"The store has taken these rows, and keeps the episodes {ids.tolist()} that ended with them; "
                        f"the buffer has not. Do not repeat the call."
                    )
                else:
                    self.writer._fill[:] = before  # what comes next is written over them
                raise

    def insert(self, /, **fields: Any) -> None:
        """Append one row (one of each environment), given by its top-level fields, to both."""
        self.add(self.buffer._rows.named(fields))
