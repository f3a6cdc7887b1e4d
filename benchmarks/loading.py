"""Batches read by workers: ours, a DataLoader over .npz files of episodes, and torchrl with a memmap storage.

torchrl is left out where it is not installed, as in ``benchmarks/store.py``, which says how to add it.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from tensordict import TensorDict
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import jaxbuffers as jb
from benchmarks.timing import Result, race

EPISODES, ROWS, IMAGE = 100, 150, (64, 64, 3)  # 184 MB of images
BATCH, LENGTH, PER, ROUNDS = 16, 64, 5, 10
TORCHRL = find_spec("torchrl") is not None
_kept: list[Any] = []  # workers end with who holds them, and so do torchrl's files


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one: microseconds for a batch that is on the device."""
    for workers in (0, 1, 2):
        for prefetch in (0, 2):
            yield lambda workers=workers, prefetch=prefetch: _against_files(workers, prefetch)
    if TORCHRL:
        yield _against_torchrl


@lru_cache(maxsize=1)
def _folder() -> Path:
    """A store, files of episodes and torchrl's storage, with the same rows on the same disk."""
    folder = Path(tempfile.mkdtemp(prefix="jaxbuffers-loading-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "files").mkdir()
    buffer = _torchrl(folder / "torchrl") if TORCHRL else None
    _kept.append(buffer)
    with jb.EpisodeStore(folder / "store") as store:
        for number in range(EPISODES):
            random = np.random.default_rng(number)
            rows = {
                "image": random.integers(0, 256, (ROWS, *IMAGE), np.uint8),
                "action": random.integers(0, 9, ROWS, np.int32),
                "is_first": np.arange(ROWS) == 0,
            }
            store.add_episode(rows)
            np.savez(folder / "files" / f"{number:07}.npz", **rows)
            if buffer is not None:
                tensors = {name: torch.from_numpy(x) for name, x in rows.items()}
                buffer.extend(TensorDict(tensors | {"episode": torch.full((ROWS,), number)}, [ROWS]))
    return folder


def _torchrl(folder: Path) -> Any:
    from torchrl.data import LazyMemmapStorage, ReplayBuffer
    from torchrl.data.replay_buffers.samplers import SliceSampler

    storage = LazyMemmapStorage(EPISODES * ROWS, scratch_dir=folder)
    sampler = SliceSampler(slice_len=LENGTH, traj_key="episode", cache_values=True, strict_length=True)
    return ReplayBuffer(storage=storage, sampler=sampler, batch_size=BATCH * LENGTH)


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


def _against_files(workers: int, prefetch: int) -> Result:
    folder = _folder()
    steps = jb.loading.StoreSteps(folder / "store", jb.Sequences(LENGTH, "within"), BATCH)
    context = "spawn" if workers else None
    files = DataLoader(Files(folder / "files"), BATCH, num_workers=workers, multiprocessing_context=context)
    batches = iter(files)

    def theirs() -> None:
        for _ in range(PER):
            jax.block_until_ready(jax.device_put({name: x.numpy() for name, x in next(batches).items()}))

    with jb.loading.Loader(steps, workers=workers, prefetch=prefetch) as loader:

        def ours() -> None:
            for _ in range(PER):
                jax.block_until_ready(next(loader).data)

        name = f"{BATCH} x {LENGTH} images, {workers} workers, prefetch {'on' if prefetch else 'off'}"
        return race(name, ours, "DataLoader over .npz", theirs, ROUNDS, PER)


def _against_torchrl() -> Result:
    folder = _folder()
    (buffer,) = _kept
    steps = jb.loading.StoreSteps(folder / "store", jb.Sequences(LENGTH, "within"), BATCH)

    def theirs() -> None:
        for _ in range(PER):
            drawn = buffer.sample()
            jax.block_until_ready(
                jax.device_put({name: drawn[name].numpy() for name in ("image", "action", "is_first")})
            )

    with jb.loading.Loader(steps, prefetch=0) as loader:

        def ours() -> None:
            for _ in range(PER):
                jax.block_until_ready(next(loader).data)

        name = f"{BATCH} x {LENGTH} images, 0 workers"
        return race(name, ours, "torchrl, memmap storage", theirs, ROUNDS, PER)
