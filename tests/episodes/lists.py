"""A store that is two lists: what drawing and reading ask of one, and nothing else."""

import jax
import numpy as np

from jaxbuffers.row import RowSpec


class Table(dict):
    """The metadata at one moment."""

    revision = 0


class ListStore:
    """Episodes in a list, their metadata in another."""

    def __init__(self, row, texts=None):
        self.spec, self.texts = RowSpec.of(row), texts
        self.episodes, self.metadata, self.revision = {}, [], 0
        self.reads = []

    def add_episode(self, rows, **metadata):
        rows = jax.tree.map(np.asarray, rows)
        number, length = 2 * len(self.metadata) + 3, len(jax.tree.leaves(rows)[0])
        self.episodes[number] = rows
        self.metadata.append({"id": number, "length": length, **metadata})
        self.revision += 1
        return number

    def table(self):
        names = self.metadata[0] if self.metadata else {"id": 0, "length": 0}
        table = Table({name: np.array([each[name] for each in self.metadata]) for name in names})
        table.revision = self.revision
        return table

    def read(self, ids, starts, length, fields=None):
        assert fields is None and len(ids) == len(starts) and length > 0
        windows = []
        for number, start in zip(ids.tolist(), starts.tolist(), strict=True):
            rows = self.episodes[number]
            assert 0 <= start and start + length <= len(jax.tree.leaves(rows)[0]), "a window outside of its episode"
            windows.append(jax.tree.map(lambda x, a=start: x[a : a + length], rows))
        self.reads.append((len(ids), length))
        return jax.tree.map(lambda *xs: np.stack(xs), *windows)
