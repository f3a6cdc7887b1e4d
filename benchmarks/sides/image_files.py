"""Episodes of images on disk, in a store, in one file, in one file each and in torchrl's storage: the same rows.

The first two bytes of each image say which row it is, so that whoever reads it can be checked.
"""

import atexit
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.same import require

ROWS, IMAGE, BATCH, LENGTH = 150, (64, 64, 3), 16, 64


@lru_cache(maxsize=1)
def folder() -> Path:
    """Return a folder that is removed when the process ends."""
    made = Path(tempfile.mkdtemp(prefix="jaxbuffers-disk-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def episode(number: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Return an episode of images."""
    step = np.arange(rows)
    image = np.random.default_rng(number).integers(0, 256, (rows, *IMAGE), np.uint8)
    image[:, 0, 0, 0], image[:, 0, 0, 1] = step, number % 256
    flags = {"is_first": step == 0, "is_last": step == rows - 1, "is_terminal": np.zeros(rows, np.bool_)}
    return {"image": image, "action": step.astype(np.int32) % 9} | flags


def numbers(count: int, rows: int = 200) -> dict[str, np.ndarray]:
    """Return an episode of small rows."""
    step = np.arange(rows)
    flags = {"is_first": step == 0, "is_last": step == rows - 1, "is_terminal": np.zeros(rows, np.bool_)}
    obs = np.full((rows, 17), count, np.float32)
    return {"obs": obs, "action": np.zeros((rows, 6), np.float32), "reward": np.float32(step)} | flags


def same(ours: Any, theirs: Any) -> None:
    """Raise unless both show windows of consecutive images of one episode, ``[B, L, H, W, C]``."""
    for side, image in (("jaxbuffers", np.asarray(ours)), ("the peer", np.asarray(theirs))):
        require(image.shape == (BATCH, LENGTH, *IMAGE), side, f"windows of shape {image.shape}")
        require(np.diff(image[:, :, 0, 0, 0].astype(int), axis=1) == 1, side, "images that do not follow each other")
        require(np.diff(image[:, :, 0, 0, 1].astype(int), axis=1) == 0, side, "windows of two episodes")
        for window in image[:2]:
            whole = episode(int(window[0, 0, 0, 1]))["image"]
            start = int(window[0, 0, 0, 0])
            require(window == whole[start : start + LENGTH], side, "images that were never stored")


def torchrl(path: Path, size: int) -> Any:
    """Return torchrl's buffer over a memory-mapped storage, which draws slices."""
    from torchrl.data import LazyMemmapStorage, ReplayBuffer
    from torchrl.data.replay_buffers.samplers import SliceSampler

    storage = LazyMemmapStorage(size, scratch_dir=path)
    sampler = SliceSampler(slice_len=LENGTH, traj_key="episode", cache_values=True, strict_length=True)
    return ReplayBuffer(storage=storage, sampler=sampler, batch_size=BATCH * LENGTH)


def tensors(rows: dict[str, np.ndarray], number: int) -> Any:
    """Return an episode as torchrl takes it."""
    import torch
    from tensordict import TensorDict

    count = len(rows["is_first"])
    made = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in rows.items()}
    return TensorDict(made | {"episode": torch.full((count,), number, dtype=torch.int64)}, [count])


def drop(*paths: Path) -> None:
    """Have files leave the page cache, which only those do that nobody has mapped."""
    for path in (file for root in paths for file in ([root] if root.is_file() else root.rglob("*"))):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
