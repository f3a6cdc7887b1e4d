"""Data sets that people have, in as rows of episodes, and out for other programs."""

from jaxbuffers.datasets.flat import from_arrays
from jaxbuffers.datasets.imported import Imported
from jaxbuffers.datasets.minari_in import from_minari
from jaxbuffers.datasets.minari_out import to_minari
from jaxbuffers.datasets.parquet import to_parquet
from jaxbuffers.datasets.spaces import space_fields
from jaxbuffers.datasets.vault import from_vault

__all__ = ["Imported", "from_arrays", "from_minari", "from_vault", "space_fields", "to_minari", "to_parquet"]
