"""The episode store: random windows of images, appends and draws, against torchrl, NumPy and our own ring.

torchrl asks for other versions than its peers here: it is added by ``pip install --no-deps torchrl``, and left out
where it is not there.
"""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from tensordict import TensorDict

import jaxbuffers as jb
from benchmarks.machine import Watch
from benchmarks.timing import Result, _spread, race
from jaxbuffers.episodes.laws import UniformWindows
from jaxbuffers.episodes.sampling import Sampling
from jaxbuffers.episodes.table import FIXED, Table
from jaxbuffers.row import RowSpec

EPISODES, ROWS, IMAGE = 300, 150, (64, 64, 3)  # 553 MB of images
BATCH, LENGTH, ROUNDS = 16, 64, 60
MANY = 1_000_000
TORCHRL = find_spec("torchrl") is not None
SMALL = {"obs": np.zeros(17, np.float32), "action": np.zeros(6, np.float32), "reward": np.float32(0)}
_FLAGS = ("is_first", "is_last", "is_terminal")


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    yield lambda: _windows("NumPy, fancy indexing of a memory map", _numpy_windows, goal=1 / 1.5)
    yield lambda: _windows("NumPy, the same and onto the device", _numpy_on_device)
    yield lambda: _windows("our ring", _ring)
    if TORCHRL:
        yield lambda: _windows("torchrl, memmap storage, SliceSampler", _torchrl_windows, goal=5.0)
    yield _cold
    for kind in ("images", "numbers"):
        yield lambda kind=kind: _append("numpy.save", kind, _saving)
        if TORCHRL:
            yield lambda kind=kind: _append("torchrl, memmap storage", kind, _torchrl_append)
    yield _draw


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="jaxbuffers-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _episode(number: int, rows: int, image: bool) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    step = np.arange(rows)
    content: dict[str, np.ndarray]
    if image:
        content = {"image": random.integers(0, 256, (rows, *IMAGE), np.uint8), "action": np.zeros(rows, np.int32)}
    else:
        content = {name: np.broadcast_to(x, (rows, *np.shape(x))).copy() for name, x in SMALL.items()}
    return content | {"is_first": step == 0, "is_last": step == rows - 1, "is_terminal": np.zeros(rows, np.bool_)}


@lru_cache(maxsize=1)
def _filled() -> tuple[Path, Path, Path]:
    """A store, a memory-mapped file of images and torchrl's storage, with the same rows on the same disk."""
    stored, mapped, theirs = (_folder() / name for name in ("store", "images.npy", "torchrl"))
    images = np.lib.format.open_memmap(mapped, "w+", np.uint8, (EPISODES * ROWS, *IMAGE))
    buffer = _torchrl(theirs, EPISODES * ROWS) if TORCHRL else None
    with jb.EpisodeStore(stored) as store:
        for i in range(EPISODES):
            rows = _episode(i, ROWS, image=True)
            store.add_episode(rows)
            images[i * ROWS : (i + 1) * ROWS] = rows["image"]
            if buffer is not None:
                buffer.extend(_tensors(rows, i))
    images.flush()
    _kept["torchrl"] = buffer
    return stored, mapped, theirs


_kept: dict[str, Any] = {}  # torchrl's storage is gone when nobody holds it


def _torchrl(folder: Path, size: int) -> Any:
    from torchrl.data import LazyMemmapStorage, ReplayBuffer
    from torchrl.data.replay_buffers.samplers import SliceSampler

    storage = LazyMemmapStorage(size, scratch_dir=folder)
    sampler = SliceSampler(slice_len=LENGTH, traj_key="episode", cache_values=True, strict_length=True)
    return ReplayBuffer(storage=storage, sampler=sampler, batch_size=BATCH * LENGTH)


def _tensors(rows: dict[str, np.ndarray], number: int) -> TensorDict:
    count = len(rows["is_first"])
    tensors = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in rows.items()}
    return TensorDict(tensors | {"episode": torch.full((count,), number, dtype=torch.int64)}, [count])


def _ours() -> Callable[[], Any]:
    store = jb.EpisodeStore(_filled()[0], read_only=True)
    _kept["ours"] = store
    for i in store.metadata["id"].tolist():  # whoever reads bytes first compares their checksums
        store.read([i], [0], ROWS)
    view, keys = jb.Sequences(LENGTH), iter(jax.random.split(jax.random.key(0), 100_000))
    return lambda: jax.block_until_ready(store.sample(view, BATCH, next(keys)).batch)


def _starts(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, EPISODES, BATCH) * ROWS + random.integers(0, ROWS - LENGTH + 1, BATCH)


def _numpy_windows() -> Callable[[], Any]:
    images, random = np.load(_filled()[1], mmap_mode="r"), np.random.default_rng(0)
    return lambda: images[_starts(random)[:, None] + np.arange(LENGTH)]


def _numpy_on_device() -> Callable[[], Any]:
    gather = _numpy_windows()
    return lambda: jax.block_until_ready(jax.device_put(np.asarray(gather())))


def _ring() -> Callable[[], Any]:
    replay = jb.Replay(EPISODES * ROWS, None, BATCH, jb.Sequences(LENGTH))
    rows = _episode(0, ROWS, image=True)
    state = replay.init(jax.tree.map(lambda x: x[0], rows))
    add = jax.jit(replay.add, donate_argnums=0)
    for _ in range(EPISODES):
        state = add(state, rows)
    sample, keys = jax.jit(replay.sample), iter(jax.random.split(jax.random.key(0), 100_000))
    return lambda: jax.block_until_ready(sample(state, next(keys)))


def _torchrl_windows() -> Callable[[], Any]:
    _filled()
    buffer = _kept["torchrl"]
    return lambda: buffer.sample()


def _windows(peer: str, theirs: Callable[[], Callable[[], Any]], goal: float | None = None) -> Result:
    """Time random windows, everything in the page cache."""
    name = f"{BATCH} x {LENGTH} windows of 64x64x3, warm"
    return race(name, _ours(), peer, theirs(), ROUNDS, goal=goal)


def _cold() -> Result:
    """Time the first random windows after the files have left the page cache, files opened anew, opening not timed."""
    stored, mapped, _ = _filled()
    times: tuple[list[float], list[float]] = ([], [])
    keys, random, watch = iter(jax.random.split(jax.random.key(1), 100)), np.random.default_rng(1), Watch()
    view = jb.Sequences(LENGTH)
    for _ in range(12):
        _drop(stored, mapped)
        with jb.EpisodeStore(stored, read_only=True) as store:
            store.count(view)
            times[0].append(_timed(lambda: jax.block_until_ready(store.sample(view, BATCH, next(keys)).batch)))
        images = np.load(mapped, mmap_mode="r")
        times[1].append(_timed(lambda: images[_starts(random)[:, None] + np.arange(LENGTH)]))  # noqa: B023
        images = np.zeros(0)  # the mapping is gone, and the pages can leave
    ratios = [b / a for a, b in zip(*times, strict=True)]
    name = f"{BATCH} x {LENGTH} windows of 64x64x3, cold"
    sides = _spread(times[0]), "NumPy, fancy indexing of a memory map", _spread(times[1])
    return Result(name, *sides, _spread(ratios), None, os.getloadavg()[0], watch.others())


def _timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e6


def _drop(*paths: Path) -> None:
    """Have files leave the page cache, which only those do that nobody has mapped."""
    for path in (file for root in paths for file in ([root] if root.is_file() else root.rglob("*"))):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _saving(folder: Path, episodes: list[dict[str, np.ndarray]]) -> Callable[[], None]:
    count = iter(range(10**9))

    def save() -> None:
        for rows in episodes:
            number = next(count)
            for name, column in rows.items():
                np.save(folder / f"{number}-{name}.npy", column)

    return save


def _torchrl_append(folder: Path, episodes: list[dict[str, np.ndarray]]) -> Callable[[], None]:
    buffer = _torchrl(folder, 40 * sum(len(rows["is_first"]) for rows in episodes))
    tensors = [_tensors(rows, i) for i, rows in enumerate(episodes)]

    def extend() -> None:
        for each in tensors:
            buffer.extend(each)

    return extend


def _append(peer: str, kind: str, theirs: Callable[..., Callable[[], None]]) -> Result:
    """Time episode after episode: ours durable each, theirs in the page cache."""
    number, rows = (8, ROWS) if kind == "images" else (50, 200)
    episodes = [_episode(i, rows, kind == "images") for i in range(number)]
    each = sum(column.nbytes for column in episodes[0].values())
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    with jb.EpisodeStore(folder / "store", capacity=16 * number * rows) as store:

        def ours() -> None:
            for episode in episodes:
                store.add_episode(episode)

        other = folder / "theirs"
        other.mkdir()
        name = f"append an episode of {rows} rows, {each / 1e6:.2g} MB"
        return race(name, ours, f"{peer}, not synced", theirs(other, episodes), 15, per=number)


def _draw() -> Result:
    """Time the draw of 256 transitions from 1,000,000 episodes, without reading them."""
    lengths = np.random.default_rng(0).integers(2, 400, MANY)
    sampling = Sampling(_Catalog(lengths))
    view, steps = jb.Transitions(), iter(range(10**9))
    ends, random = np.cumsum(lengths - 1), np.random.default_rng(0)

    def theirs() -> None:
        number = random.integers(0, ends[-1], 256)
        at = np.searchsorted(ends, number, side="right")
        number - (ends[at] - (lengths[at] - 1))

    def ours() -> None:
        sampling.draw(view, 256, (0, next(steps)), UniformWindows())

    return race("draw 256 transitions from 1e6 episodes", ours, "NumPy, searchsorted", theirs, 200)


class _Catalog:
    """A store of episodes without rows: only what drawing looks at."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.texts = None
        flags = dict.fromkeys(_FLAGS, np.bool_(False))
        self.spec = RowSpec.of(SMALL | flags)
        table = Table.empty()
        records = {name: np.zeros(len(lengths), dtype) for name, dtype in _dtypes().items()}
        records |= {"id": np.arange(len(lengths)), "length": lengths}
        self._table = Table(0, table.types, records, 0, len(lengths))

    def table(self) -> Any:
        """Return the columns."""
        return self._table


def _dtypes() -> dict[str, Any]:
    return {**FIXED, "block": np.int64}
