"""What the header of a checkpoint says, if it is one that this version reads."""

import json
from collections.abc import Mapping
from typing import Any

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.snapshot import FORMAT, IN_SHARES
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError


def words_of(reader: file.Reader) -> dict[str, Any]:
    """Return what the header says.

    Raises:
      CheckpointError: it is in another format.
      DamagedCheckpointError: it says not all that this one must.
    """
    try:
        words = dict(json.loads(reader.words["jaxbuffers"]))
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"{reader.path} is no checkpoint of jaxbuffers.") from error
    check_format(reader.path, words)
    refuse_share(reader.path, words)
    if absent := [name for name in ("leaves", "made_by", "parts", "tables") if not isinstance(words.get(name), dict)]:
        raise DamagedCheckpointError(f"{reader.path} is no checkpoint of jaxbuffers: it has no {absent[0]!r}.")
    return {"store": None, "metadata": None, **words}


def check_format(path: str, words: dict[str, Any]) -> None:
    """Refuse another format."""
    saved = words.get("format")
    if saved not in (FORMAT, IN_SHARES):
        raise CheckpointError(
            f"{path} was saved in format {saved}, this version of jaxbuffers reads {FORMAT} and {IN_SHARES}; use the "
            f"version that saved it, jaxbuffers {words.get('versions', {}).get('jaxbuffers', 'unknown')}."
        )


def refuse_share(path: str, words: Mapping[str, Any]) -> None:
    """Refuse to read the share of one process as if it were the checkpoint."""
    if "share" in words:
        raise CheckpointError(
            f"{path} is the share of one process in a checkpoint; restore the file without the end of its name, "
            f"{path.rsplit('.', 2)[0]}."
        )
