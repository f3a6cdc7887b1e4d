"""How the rows of a segment may lie on disk: one file, a .npy file for each leaf, or Arrow.

``python benchmarks/segment_formats.py FOLDER``; Arrow is measured where pyarrow is there. Each append is one episode of
200 rows, on the disk when it is over; each read 16 windows of 64 rows. In turns, medians.
"""

import os
import shutil
import sqlite3
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROWS, EPISODES, LENGTH, BATCH = 200, 40, 64, 16
LEAVES = {
    "obs": (np.uint8, (64, 64, 3)),
    "action": (np.int32, ()),
    "reward": (np.float32, ()),
    "is_first": (np.bool_, ()),
    "is_last": (np.bool_, ()),
    "is_terminal": (np.bool_, ()),
}
SIZES = [int(np.dtype(dtype).itemsize * np.prod(shape)) for dtype, shape in LEAVES.values()]
SEGMENT = ROWS * EPISODES


class Catalog:
    """What follows each append: a row in SQLite."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute("CREATE TABLE episodes (id INTEGER PRIMARY KEY, place INTEGER)")

    def commit(self, place):
        """Make an episode known."""
        self.database.execute("INSERT INTO episodes (place) VALUES (?)", (place,))


class OneFile:
    """The columns one after the other in one file."""

    def __init__(self, folder):
        self.catalog, self.path = Catalog(folder / "one.sqlite"), folder / "one.safetensors"
        self.begins = [4096 + int(x) for x in np.cumsum([0, *(size * SEGMENT for size in SIZES)])]
        self.files = [os.open(self.path, os.O_RDWR | os.O_CREAT)]
        os.truncate(self.files[0], self.begins[-1])
        os.fsync(self.files[0])

    def append(self, number, columns):
        """Write an episode, and wait for the disk."""
        for begin, size, column in zip(self.begins, SIZES, columns, strict=False):
            os.pwrite(self.files[0], column, begin + number * ROWS * size)
        os.fdatasync(self.files[0])
        self.catalog.commit(number)

    def open(self):
        """Map what was written."""
        data = np.memmap(self.path, np.uint8, "r")
        self.columns = [
            data[b : b + SEGMENT * size].reshape(SEGMENT, size) for b, size in zip(self.begins, SIZES, strict=False)
        ]

    def read(self, starts):
        """Return windows of all leaves."""
        result = []
        for column, size in zip(self.columns, SIZES, strict=True):
            out = np.empty((len(starts), LENGTH * size), np.uint8)
            for place, start in enumerate(starts):
                out[place] = column[start : start + LENGTH].reshape(-1)
            result.append(out)
        return result


class FileALeaf(OneFile):
    """One .npy file for each leaf."""

    def __init__(self, folder):
        self.catalog, self.path, self.files = Catalog(folder / "leaves.sqlite"), folder, []
        for name, size in zip(LEAVES, SIZES, strict=True):
            self.files.append(os.open(folder / f"{name}.npy", os.O_RDWR | os.O_CREAT))
            os.truncate(self.files[-1], 128 + size * SEGMENT)
            os.fsync(self.files[-1])

    def append(self, number, columns):
        """Write an episode, and wait for the disk."""
        for file, size, column in zip(self.files, SIZES, columns, strict=True):
            os.pwrite(file, column, 128 + number * ROWS * size)
        for file in self.files:
            os.fdatasync(file)
        self.catalog.commit(number)

    def open(self):
        """Map what was written."""
        self.columns = [
            np.memmap(self.path / f"{name}.npy", np.uint8, "r", 128).reshape(SEGMENT, size)
            for name, size in zip(LEAVES, SIZES, strict=True)
        ]


class Arrow(OneFile):
    """An Arrow IPC stream, one record batch an episode."""

    def __init__(self, folder):
        import pyarrow

        self.arrow, self.catalog, self.path = pyarrow, Catalog(folder / "arrow.sqlite"), folder / "arrow.arrows"
        self.types = [pyarrow.binary(size) for size in SIZES]
        self.schema = pyarrow.schema(list(zip(LEAVES, self.types, strict=True)))
        self.sink = pyarrow.OSFile(str(self.path), "wb")
        self.writer = pyarrow.ipc.new_stream(self.sink, self.schema)
        self.file = os.open(self.path, os.O_RDWR)

    def append(self, number, columns):
        """Write an episode, and wait for the disk."""
        arrays = [
            self.arrow.Array.from_buffers(kind, ROWS, [None, self.arrow.py_buffer(column)])
            for kind, column in zip(self.types, columns, strict=True)
        ]
        self.writer.write_batch(self.arrow.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.sink.flush()
        os.fdatasync(self.file)
        self.catalog.commit(number)

    def open(self):
        """Map what was written."""
        began = time.perf_counter()
        mapped = self.arrow.memory_map(str(self.path))
        batches = list(self.arrow.ipc.open_stream(mapped))
        self.batches = [
            [
                np.frombuffer(column.buffers()[1], np.uint8, ROWS * size, column.offset * size)
                for column, size in zip(batch.columns, SIZES, strict=True)
            ]
            for batch in batches
        ]
        print(f"Arrow: {len(batches)} batches found in {1e3 * (time.perf_counter() - began):.1f} ms")

    def read(self, starts):
        """Return windows of all leaves."""
        result = []
        for leaf, size in enumerate(SIZES):
            out = np.empty((len(starts), LENGTH * size), np.uint8)
            for place, start in enumerate(starts):
                number, row = divmod(start, ROWS)
                out[place] = self.batches[number][leaf][row * size : (row + LENGTH) * size]
            result.append(out)
        return result


def main(folder):
    """Measure in a folder that is made for it."""
    dice = np.random.default_rng(0)
    columns = [dice.integers(0, 256, (ROWS, size), np.uint8) for size in SIZES]
    kinds = [OneFile, FileALeaf, Arrow]
    try:
        import pyarrow

        print("pyarrow", pyarrow.__version__)
    except ImportError:
        kinds.remove(Arrow)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = [kind(folder) for kind in kinds]
    times = {kind: [] for kind in kinds}
    for number in range(EPISODES):
        for each in made:
            began = time.perf_counter()
            each.append(number, columns)
            times[type(each)].append(time.perf_counter() - began)
    for kind in kinds:
        median = statistics.median(times[kind])
        print(f"{kind.__name__}: append {1e3 * median:.2f} ms, {1 / median:.0f} episodes a second")
    for each in made:
        each.open()
    reads = {kind: [] for kind in kinds}
    for turn in range(120):
        episodes = dice.integers(0, EPISODES, BATCH)
        starts = (episodes * ROWS + dice.integers(0, ROWS - LENGTH, BATCH)).tolist()
        found = []
        for each in made:
            began = time.perf_counter()
            found.append(each.read(starts))
            if turn >= 20:
                reads[type(each)].append(time.perf_counter() - began)
        assert all((a == b).all() for other in found for a, b in zip(found[0], other, strict=True))
    for kind in kinds:
        print(f"{kind.__name__}: 16 windows of 64 rows {1e3 * statistics.median(reads[kind]):.2f} ms")
    for name in ("one.safetensors", "arrow.arrows"):
        if (folder / name).exists():
            print(f"{name}: {(folder / name).stat().st_blocks * 512 / 1e6:.1f} MB on disk")
    print(f".npy: {sum(file.stat().st_blocks * 512 for file in folder.glob('*.npy')) / 1e6:.1f} MB on disk")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
