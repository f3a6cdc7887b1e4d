"""Batches read by workers: ours, a DataLoader over .npz files of episodes, and torchrl with a memmap storage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.sides import image_files
from benchmarks.sides.image_files import BATCH, IMAGE, LENGTH, ROWS, episode, folder
from benchmarks.sides.store import _stored

COLUMNS = ("image", "action", "is_first")


class Files(IterableDataset):
    """Windows of .npz files: each worker draws among those whose number is its own modulo the number of workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Draw an episode, read its file, cut a window."""
        info = get_worker_info()
        own, step = (0, 1) if info is None else (info.id, info.num_workers)
        paths, random = sorted(self.folder.iterdir())[own::step], np.random.default_rng(own)
        while True:
            with np.load(paths[random.integers(len(paths))]) as file:
                rows = {name: file[name] for name in file.files}
            start = random.integers(0, ROWS - LENGTH + 1)
            yield {name: x[start : start + LENGTH] for name, x in rows.items()}


def contest(peer: str, episodes: int, workers: int, prefetch: int, per: int) -> Contest:
    """Take batches until they are on the device."""

    def ours() -> Side:
        steps = jb.loading.StoreSteps(_stored(episodes), jb.Sequences(LENGTH, "within"), BATCH)
        loader = jb.loading.Loader(steps, workers=workers, prefetch=prefetch)
        batches = loader.__enter__()

        def run() -> Any:
            for _ in range(per):
                data = jax.block_until_ready(next(batches).data)
            return data

        return Side(run, np.asarray(run()["image"]), lambda: loader.__exit__(None, None, None))

    def theirs() -> Side:
        batches = _torchrl(episodes) if peer == "torchrl" else _files(episodes, workers)

        def run() -> Any:
            for _ in range(per):
                drawn = next(batches)
                data = jax.block_until_ready(jax.device_put({name: drawn[name].numpy() for name in COLUMNS}))
            return data

        return Side(run, np.asarray(run()["image"]).reshape(BATCH, LENGTH, *IMAGE))

    return Contest(ours, theirs, image_files.same, per)


def _files(episodes: int, workers: int) -> Iterator[Any]:
    path = folder() / "files"
    path.mkdir()
    for number in range(episodes):
        rows = episode(number)
        np.savez(path / f"{number:07}.npz", **{name: rows[name] for name in COLUMNS})
    context = "spawn" if workers else None
    return iter(DataLoader(Files(path), BATCH, num_workers=workers, multiprocessing_context=context))


def _torchrl(episodes: int) -> Iterator[Any]:
    buffer = image_files.torchrl(folder() / "torchrl", episodes * ROWS)
    for number in range(episodes):
        buffer.extend(image_files.tensors(episode(number), number))
    while True:
        yield buffer.sample()
