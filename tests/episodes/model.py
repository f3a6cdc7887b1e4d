"""Episodes that follow from a number, and a store of them in plain Python."""

import os
import tempfile
from pathlib import Path

import numpy as np

import jaxbuffers as jb

ROW = {
    "obs": np.zeros((5, 3), np.uint8),
    "reward": np.float32(0),
    "is_first": np.bool_(False),
    "is_last": np.bool_(False),
    "is_terminal": np.bool_(False),
    "said": jb.text,
}
ROW_BYTES = 15 + 4 + 3 + 4


def temporary():
    """Make a folder, in memory where the system has such: these tests are about what is written, not about disks."""
    return Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


def said(key, length):
    """Texts, some of them the same in several episodes."""
    return [f"{key % 5} {t % 3}" * (1 + key % 7) for t in range(length)]


def rows(key, length):
    """Return an episode: every byte follows from its key and its length."""
    dice, time = np.random.default_rng([key, length]), np.arange(length)
    return {
        "obs": dice.integers(0, 256, (length, 5, 3), np.uint8),
        "reward": (dice.integers(-8, 9, length) * (time > 0)).astype(np.float32),
        "is_first": time == 0,
        "is_last": time == length - 1,
        "is_terminal": (time == length - 1) & (key % 2 == 0),
        "said": said(key, length),
    }


def check_rows(store, found, key, length):
    """Assert that rows are those of an episode, to the byte."""
    expected = rows(key, length)
    texts = expected.pop("said")
    assert store.texts.lookup(found["said"]) == texts
    for name, column in expected.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column, err_msg=f"{name} of {key}")


class Model:
    """What a store promises, in plain Python.

    Attributes:
      held: key, length and judgment of each episode by its id, in order.
      next_id: of the next one.
    """

    def __init__(self, capacity=None):
        self.capacity, self.held, self.next_id = capacity, {}, 0

    def copy(self):
        """Return another one, which goes another way."""
        other = Model(self.capacity)
        other.held, other.next_id = dict(self.held), self.next_id
        return other

    @property
    def total(self):
        return sum(length for _, length, _ in self.held.values())

    def add(self, episodes):
        """Take (key, length) of episodes that are committed at once."""
        for key, length in episodes:
            self.held[self.next_id] = (key, length, None)
            self.next_id += 1
        while self.capacity is not None and self.total > self.capacity:
            self.held.pop(next(iter(self.held)))

    def evict(self, count):
        for i in list(self.held)[:count]:
            del self.held[i]

    def delete(self, ids):
        for i in ids:
            del self.held[i]

    def judge(self, ids, value):
        for i in ids:
            self.held[i] = (*self.held[i][:2], value)

    def fits(self, store):
        """Say whether a store has the episodes of this model, by its columns."""
        metadata = store.metadata
        found = {
            i: (key, length, None if np.isnan(judgment) else judgment)
            for i, key, length, judgment in zip(
                *(np.asarray(metadata[name]).tolist() for name in ("id", "key", "length", "judgment")), strict=True
            )
        }
        return found == self.held and len(store) == len(self.held) and store.rows == self.total

    def check(self, store, some=None):
        """Assert that a store has just these episodes, and that every byte of them, or of some, is right."""
        assert self.fits(store), (self.held, store.metadata)
        for i in self.held if some is None else some:
            key, length, _ = self.held[i]
            episode = store[i]
            check_rows(store, episode.rows, key, length)
            expected = rows(key, length)
            assert episode.metadata["return"] == expected["reward"].sum()
            assert episode.metadata["ending"] == ("terminated" if key % 2 == 0 else "truncated")


COLUMNS = {"key": int, "judgment": float}


def opened(path, **options):
    """Open a store of such episodes."""
    return jb.EpisodeStore(path, row=ROW, columns=COLUMNS, **options)
